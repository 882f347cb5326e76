"""The names of the book "Deep Learning from Scratch 2": its `common/`, `ch07` and `ch08`, all in one place.

``from fastattn.compat.dlfs2 import *`` brings them all. docs/drop-in.md has the table of the names, and the list of what
differs.
"""

from . import sequence
from .attention import Attention, AttentionWeight, TimeAttention, WeightSum
from .cells import LSTM, Embedding
from .evaluation import eval_seq2seq
from .functions import cross_entropy_error, sigmoid, softmax
from .layers import TimeAffine, TimeBiLSTM, TimeDropout, TimeEmbedding, TimeLSTM, TimeSoftmaxWithLoss
from .models import (
    AttentionDecoder,
    AttentionEncoder,
    AttentionSeq2seq,
    BaseModel,
    Decoder,
    Encoder,
    PeekyDecoder,
    PeekySeq2seq,
    Seq2seq,
)
from .optimizers import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSprop, clip_grads, remove_duplicate
from .trainer import Trainer

__all__ = [
    "LSTM",
    "SGD",
    "AdaGrad",
    "Adam",
    "Attention",
    "AttentionDecoder",
    "AttentionEncoder",
    "AttentionSeq2seq",
    "AttentionWeight",
    "BaseModel",
    "Decoder",
    "Embedding",
    "Encoder",
    "Momentum",
    "Nesterov",
    "PeekyDecoder",
    "PeekySeq2seq",
    "RMSprop",
    "Seq2seq",
    "TimeAffine",
    "TimeAttention",
    "TimeBiLSTM",
    "TimeDropout",
    "TimeEmbedding",
    "TimeLSTM",
    "TimeSoftmaxWithLoss",
    "Trainer",
    "WeightSum",
    "clip_grads",
    "cross_entropy_error",
    "eval_seq2seq",
    "remove_duplicate",
    "sequence",
    "sigmoid",
    "softmax",
]
