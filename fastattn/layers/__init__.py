"""Layers: each checks what it is given, holds what backward needs, and calls the kernels for all mathematics.

``lengths`` (N,), or None for no padding, holds the number of real steps of each sample, from 1 to T. What stands at
padding is never read: outputs and gradients there are zero. ``backward`` belongs to the last ``forward``, and may be
called more than once. What forward was given and what it returned is kept for backward, not copied: leave it as it is
in between.

Every layer raises ValueError for a wrong shape, a length out of range or an empty batch, TypeError for a wrong dtype,
IndexError for a token id out of range, and RuntimeError for a backward before any forward.
"""

from .activation import Tanh
from .affine import Affine
from .attention import Attention, AttentionLayer, AttentionWeight, WeightSum
from .bilstm import BiLSTM
from .dropout import Dropout
from .embedding import Embedding
from .embedding_lstm import EmbeddingLSTM
from .input_feeding import InputFeedingLSTM
from .loss import CEloss, Softmax, SoftmaxCrossEntropy
from .lstm import LSTM
from .softmax import SoftmaxLayer
from .stacked_lstm import StackedLSTM

__all__ = [
    "LSTM",
    "Affine",
    "Attention",
    "AttentionLayer",
    "AttentionWeight",
    "BiLSTM",
    "CEloss",
    "Dropout",
    "Embedding",
    "EmbeddingLSTM",
    "InputFeedingLSTM",
    "Softmax",
    "SoftmaxCrossEntropy",
    "SoftmaxLayer",
    "StackedLSTM",
    "Tanh",
    "WeightSum",
]
