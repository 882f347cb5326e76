"""How good answers are: error rates against one or several references, intervals, alignments, reports."""

from .alignment import Confusion, align, confusions, worst
from .bootstrap import Intervals, intervals
from .corpus import BLEU_TOKENIZERS, CorpusScore, bleu, chrf
from .evaluation import Evaluation, evaluate
from .lengths import LengthBucket, by_length
from .metrics import Comparison, Score, compare, edit_distance, score, total
from .report import REPORT_ENDINGS, write_report

__all__ = [
    "BLEU_TOKENIZERS",
    "REPORT_ENDINGS",
    "Comparison",
    "Confusion",
    "CorpusScore",
    "Evaluation",
    "Intervals",
    "LengthBucket",
    "Score",
    "align",
    "bleu",
    "by_length",
    "chrf",
    "compare",
    "confusions",
    "edit_distance",
    "evaluate",
    "intervals",
    "score",
    "total",
    "worst",
    "write_report",
]
