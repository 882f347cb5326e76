"""`fastattn evaluate`: how often a trained model, or a file of answers, is right."""

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import decoding
from .common import UserError, choose_computing, whole_number
from .reading import UnknownSymbols, add_reading, add_unknown, chosen_reading

if TYPE_CHECKING:
    from fastattn.data import PairsFile
    from fastattn.evaluation import CorpusScore, Evaluation, Score
    from fastattn.training import Translator

STANDARD_INPUT = "-"  # as in fastattn.data.pairs, which is not imported before it is needed
RESAMPLES = 1000
SEED = 0
REPORT_ROWS = 200
BLEU_TOKENIZER = "13a"


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `fastattn evaluate`."""
    from fastattn.data import NORMALIZATIONS, TOKEN_KINDS

    parser = commands.add_parser(
        "evaluate",
        help="compare answers with the right ones",
        description="Translate the sources of a file of pairs and compare the answers with the targets. The targets of "
        "a source that stands there more than once are all right, and an answer is measured against the nearest. "
        "Exact match: the part of the answers that are right in every token. Token error rate: the insertions, "
        "deletions and replacements that would make the answers right, over the tokens of the targets.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "folder",
        metavar="DIR",
        help="the folder of the model, as written by `fastattn train`; or a file of answers, to do without a model: "
        "one a line, for each line of PAIRS.tsv or for each different source; - for answers on standard input",
    )
    parser.add_argument(
        "pairs",
        metavar="PAIRS.tsv",
        help="one pair a line, in the columns that the model was trained on; UTF-8, gzip; - for standard input",
    )
    decoding.add_search(parser)
    add_unknown(parser)
    add_reading(parser)

    figures = parser.add_argument_group("figures")
    figures.add_argument("--json", action="store_true", help="print one JSON object with all figures, rates from 0 to 1")
    figures.add_argument(
        "--intervals", action="store_true", help="print 95 %% intervals, by the bootstrap: sources are drawn anew"
    )
    figures.add_argument(
        "--resamples",
        type=whole_number(1),
        default=RESAMPLES,
        metavar="N",
        help="how often they are drawn (default: %(default)s)",
    )
    figures.add_argument(
        "--seed", type=whole_number(0), default=SEED, metavar="S", help="of these draws (default: %(default)s)"
    )
    figures.add_argument("--by-length", action="store_true", help="print the results by the length of the source, too")
    figures.add_argument(
        "--length-bounds",
        type=rising_numbers,
        metavar="N,N,...",
        help="the largest length of each group, in tokens; what is longer is one more (default: five groups of about "
        "as many sources); implies --by-length",
    )
    figures.add_argument("--bleu", action="store_true", help="BLEU, by sacrebleu: pip install 'fastattn[evaluation]'")
    figures.add_argument(
        "--bleu-tokenize",
        choices=("13a", "intl", "char", "zh", "none"),  # those of fastattn.evaluation, which takes long to import
        default=BLEU_TOKENIZER,
        help="what sacrebleu takes for words; none: what stands between spaces (default: %(default)s)",
    )
    figures.add_argument("--chrf", action="store_true", help="chrF, by sacrebleu")

    report = parser.add_argument_group("report")
    report.add_argument(
        "--report",
        metavar="FILE",
        help="write the worst answers, aligned, and the most frequent confusions to a .html or .tsv file",
    )
    report.add_argument(
        "--report-rows",
        type=whole_number(1),
        default=REPORT_ROWS,
        metavar="N",
        help="how many of each (default: %(default)s)",
    )

    answers = parser.add_argument_group("for a file of answers", "A model knows it by itself.")
    for side in ("source", "target"):
        answers.add_argument(
            f"--{side}-tokens",
            choices=TOKEN_KINDS,
            help=f"what a token of the {side} is: a character, what stands between spaces, or what a reader takes for a "
            "character, with its marks (default: char)",
        )
    answers.add_argument(
        "--normalization", choices=NORMALIZATIONS, help="the Unicode normalisation of all texts (default: none)"
    )
    parser.set_defaults(run=run)


def rising_numbers(text: str) -> list[int]:
    """A type for argparse: whole numbers of at least 1, each larger than the one before, with commas between."""
    numbers = [whole_number(1)(part) for part in text.split(",")]
    if any(a >= b for a, b in itertools.pairwise(numbers)):
        raise argparse.ArgumentTypeError(f"{text!r} does not rise")
    return numbers


def run(arguments: argparse.Namespace) -> None:
    """Prints the counts and the rates, and writes the report."""
    from fastattn.data import PLAIN, PairsFile, Vocabulary, group_targets
    from fastattn.evaluation import evaluate, write_report

    _check(arguments)
    choose_computing()
    unknown = None
    figures: dict[str, Any] = {
        "resamples": arguments.resamples if arguments.intervals or arguments.json or arguments.report else 0,
        "seed": arguments.seed,
        "length_bounds": arguments.length_bounds,
        "bleu_tokenize": arguments.bleu_tokenize if arguments.bleu else None,
        "with_chrf": arguments.chrf,
    }
    if _is_answers(arguments.folder):
        reading = replace(PLAIN, normalization=arguments.normalization or PLAIN.normalization)
        reading = chosen_reading(arguments, reading, of_model=False)
        file = PairsFile.read(arguments.pairs, reading)
        answers = [reading.normalized(answer) for answer in _read_answers(arguments.folder, file)]
        features = () if reading.has_features else None
        source_tokens = Vocabulary((), arguments.source_tokens or "char", features)
        target_tokens = Vocabulary((), arguments.target_tokens or "char")
        targets = group_targets(file.pairs)
        tokens: dict[str, Any] = {"source_tokens": source_tokens, "target_tokens": target_tokens}
        result = evaluate(list(targets), answers, list(targets.values()), **tokens, **figures)
    else:
        translator = decoding.load(arguments.folder, arguments.ensemble)
        file = PairsFile.read(arguments.pairs, chosen_reading(arguments, translator.reading))
        target_tokens = translator.target_vocabulary
        result = _score(translator, file, arguments, figures)
        unknown = UnknownSymbols(translator)
        unknown.count(dict.fromkeys(source for source, _ in file.pairs))
        unknown.say()
    if arguments.report:
        title = f"{' and '.join([arguments.folder, *arguments.ensemble])} on {arguments.pairs}"
        write_report(arguments.report, result, title=title, rows=arguments.report_rows)
    if arguments.json:
        content = result.to_json()
        print(json.dumps(content if unknown is None else {**content, "unknown_sources": unknown.sources}))
        return
    by_length = arguments.by_length or arguments.length_bounds is not None
    lines = text(result, target_tokens.token_kind != "char", arguments.intervals, by_length)
    print("\n".join(lines))


def _check(arguments: argparse.Namespace) -> None:
    """What can be said before anything is computed."""
    from fastattn.evaluation import REPORT_ENDINGS
    from fastattn.evaluation.corpus import require_sacrebleu

    if arguments.bleu or arguments.chrf:
        require_sacrebleu()
    if arguments.report is not None:
        report = Path(arguments.report)
        if report.suffix.lower() not in REPORT_ENDINGS:
            raise UserError(f"{arguments.report}: no such format of a report; expected {' or '.join(REPORT_ENDINGS)}")
        if not report.parent.is_dir():
            raise UserError(f"{arguments.report}: there is no folder {report.parent}")
        for read in (arguments.pairs, arguments.folder):
            if report.exists() and Path(read).exists() and report.samefile(read):
                raise UserError(f"{arguments.report}: is read for this report; expected another file")
    if arguments.folder == arguments.pairs == STANDARD_INPUT:
        raise UserError("- and -: answers and pairs are both to come from standard input; expected a file for one of them")
    if _is_answers(arguments.folder):
        given = {"beam": arguments.beam, "length-penalty": arguments.length_penalty, "ensemble": arguments.ensemble or None}
        given["unknown"] = arguments.unknown if arguments.unknown != "answer" else None
        for name, value in given.items():
            if value is not None:
                raise UserError(f"--{name} is for a model; {arguments.folder} holds answers")
        return
    for name in ("source-tokens", "target-tokens", "normalization"):
        if getattr(arguments, name.replace("-", "_")) is not None:
            raise UserError(f"--{name} is for a file of answers; the model in {arguments.folder} has its own")


def _is_answers(path: str) -> bool:
    """Whether it is a file (or a pipe, or standard input), rather than the folder of a model or nothing at all."""
    return path == STANDARD_INPUT or (Path(path).exists() and not Path(path).is_dir())


def _read_answers(path: str, file: "PairsFile") -> list[str]:
    """An answer to each different source, in the order in which they first stand in the pairs.

    There may be one for each of these, for each pair, or for each line, as `fastattn translate --input` writes them.
    """
    from fastattn.data import read_lines
    from fastattn.data.pairs import shown_name
    from fastattn.data.words import counted

    answers = [answer for _, answer in read_lines(path, "an answer")]
    places: dict[str, int] = {}  # source -> the place of its first pair
    for place, (source, _) in enumerate(file.pairs):
        places.setdefault(source, place)
    if len(answers) == len(places):
        return answers
    numbers: Sequence[int] = range(1, len(file.pairs) + 1)  # of the lines with an answer to a pair
    if len(answers) == file.all_lines:
        numbers = file.lines
        answers = [answers[number - 1] for number in numbers]
    if len(answers) != len(file.pairs):
        expected = f"{len(file.pairs):,}, one for each pair"
        if len(places) < len(file.pairs):
            expected += f", or {len(places):,}, one for each different source"
        if file.all_lines > len(file.pairs):
            expected += f", or {file.all_lines:,}, one for each line"
        raise UserError(f"{shown_name(path)}: {counted(len(answers), 'answer')}; expected {expected}")
    for place, (source, _) in enumerate(file.pairs):
        first = places[source]
        if answers[place] != answers[first]:
            where, other = f"{shown_name(path)}:{numbers[place]}", f"line {numbers[first]}"
            raise UserError(f"{where}: another answer than in {other}, to the same source; expected one")
    return [answers[place] for place in places.values()]


def _score(translator: "Translator", file: "PairsFile", arguments: argparse.Namespace, figures: dict[str, Any]) -> "Evaluation":
    """The model's answers to the different sources, in the order in which they first stand there, and what comes of them."""
    from fastattn.training import SourceError

    beam, length_penalty = arguments.beam or 1, arguments.length_penalty or 0.0
    try:
        return translator.score(file.pairs, beam=beam, length_penalty=length_penalty, unknown=arguments.unknown, **figures)
    except SourceError as error:
        raise UserError(f"{file.path}:{file.lines[error.index]}: {error}") from error


def text(result: "Evaluation", characters: bool, intervals: bool, by_length: bool) -> Iterator[str]:
    """The lines to print. characters: whether with the character error rate; tokens that are characters have none of
    their own. intervals, by_length: whether with these.
    """
    several = result.pairs > len(result.sources)
    names = ["sources" if several else "pairs", "exact match", "token error rate", *(["character error rate"] * characters)]
    width = max(map(len, names)) + 2
    count = f"{len(result.sources):,} ({result.pairs:,} pairs; the nearest target counts)" if several else f"{result.pairs:,}"
    yield f"{names[0]:{width}}{count}"
    for name, figure in zip(names[1:], _rates(result.score)):
        line = f"{name:{width}}{figure}"
        if intervals:
            low, high = getattr(result.intervals, name.replace(" ", "_"))
            line += f", 95% interval {low:.2%} to {high:.2%}"
        yield line
    for score in (result.bleu, result.chrf):
        if score is not None:
            yield f"{score.name:{width}}{_corpus_score(score)}"
    if several:
        yield "by the first target of each source alone"
        yield from (f"{name:{width}}{figure}" for name, figure in zip(names[1:], _rates(result.first_score)))
    if by_length:
        rows = [("source tokens", "sources", "exact match", "token error rate")]
        for bucket in result.by_length:
            lengths = f"{bucket.low} to {bucket.high}" if bucket.low < bucket.high else f"{bucket.low}"
            part = bucket.score
            rows.append((lengths, f"{part.pairs:,}", f"{part.exact_match:.2%}", f"{part.token_error_rate:.2%}"))
        yield from (f"{a:{width}}{b:>10}  {c:>11}  {d:>16}" for a, b, c, d in rows)


def _rates(score: "Score") -> Iterator[str]:
    from fastattn.data.words import counted

    yield f"{score.exact_match:.2%} ({score.exact_matches:,} of {score.pairs:,})"
    tokens = counted(score.reference_tokens, "token")
    yield f"{score.token_error_rate:.2%} ({counted(score.token_errors, 'error')} in {tokens})"
    if score.character_errors is not None and score.reference_characters is not None:
        characters = counted(score.reference_characters, "character")
        yield f"{score.character_error_rate:.2%} ({counted(score.character_errors, 'error')} in {characters})"


def _corpus_score(score: "CorpusScore") -> str:
    resampled = f", mean of resamples {score.mean:.2f} ± {score.half_width:.2f}" if score.mean is not None else ""
    return f"{score.score:.2f}{resampled} ({score.signature})"
