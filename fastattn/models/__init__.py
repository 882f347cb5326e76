"""Models: layers put together, with all their weights in one list."""

from .beam import SearchResult
from .config import ModelConfig
from .decoder import Decoder
from .encoder import Encoder
from .ensemble import Ensemble
from .seq2seq import AttentionSeq2seq

__all__ = ["AttentionSeq2seq", "Decoder", "Encoder", "Ensemble", "ModelConfig", "SearchResult"]
