"""Models: layers put together, with all their weights in one list."""

from .config import ModelConfig
from .decoder import Decoder
from .encoder import Encoder
from .seq2seq import AttentionSeq2seq

__all__ = ["AttentionSeq2seq", "Decoder", "Encoder", "ModelConfig"]
