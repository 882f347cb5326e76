"""LSTM encoder-decoder models with attention, fast on CPUs: Numba kernels behind the layer interface you know."""

from .backend import get_backend, get_num_threads, set_backend, set_num_threads, use_backend
from .layers import (
    LSTM,
    Affine,
    Attention,
    AttentionLayer,
    AttentionWeight,
    CEloss,
    Dropout,
    Embedding,
    Softmax,
    SoftmaxCrossEntropy,
    SoftmaxLayer,
    WeightSum,
)
from .models import AttentionSeq2seq, Decoder, Encoder

__all__ = [
    "LSTM",
    "Affine",
    "Attention",
    "AttentionLayer",
    "AttentionSeq2seq",
    "AttentionWeight",
    "CEloss",
    "Decoder",
    "Dropout",
    "Embedding",
    "Encoder",
    "Softmax",
    "SoftmaxCrossEntropy",
    "SoftmaxLayer",
    "WeightSum",
    "get_backend",
    "get_num_threads",
    "set_backend",
    "set_num_threads",
    "use_backend",
]
