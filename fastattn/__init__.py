"""LSTM encoder-decoder models with attention, fast on CPUs: Numba kernels behind the layer interface you know."""

from typing import TYPE_CHECKING, Any

from .backend import get_backend, get_num_threads, set_backend, set_num_threads, use_backend
from .layers import (
    LSTM,
    Affine,
    Attention,
    AttentionLayer,
    AttentionWeight,
    BiLSTM,
    CEloss,
    Dropout,
    Embedding,
    EmbeddingLSTM,
    InputFeedingLSTM,
    Softmax,
    SoftmaxCrossEntropy,
    SoftmaxLayer,
    StackedLSTM,
    Tanh,
    WeightSum,
)
from .models import AttentionSeq2seq, Decoder, Encoder, Ensemble, ModelConfig, SearchResult

if TYPE_CHECKING:
    from .training import SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, RMSprop, Trainer, Translator, clip_grads

__all__ = [
    "LSTM",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Affine",
    "Attention",
    "AttentionLayer",
    "AttentionSeq2seq",
    "AttentionWeight",
    "BiLSTM",
    "CEloss",
    "Decoder",
    "Dropout",
    "Embedding",
    "EmbeddingLSTM",
    "Encoder",
    "Ensemble",
    "InputFeedingLSTM",
    "ModelConfig",
    "Momentum",
    "Nesterov",
    "RMSprop",
    "SearchResult",
    "Softmax",
    "SoftmaxCrossEntropy",
    "SoftmaxLayer",
    "StackedLSTM",
    "Tanh",
    "Trainer",
    "Translator",
    "WeightSum",
    "clip_grads",
    "get_backend",
    "get_num_threads",
    "set_backend",
    "set_num_threads",
    "use_backend",
]

_TRAINING = ("SGD", "AdaGrad", "Adam", "AdamW", "Momentum", "Nesterov", "RMSprop", "Trainer", "Translator", "clip_grads")


def __getattr__(name: str) -> Any:
    """The names of `fastattn.training`, which is imported when one is first used: it needs tqdm and safetensors."""
    if name in _TRAINING:
        from . import training

        return getattr(training, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
