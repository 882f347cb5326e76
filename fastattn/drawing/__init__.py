"""Pictures: where a model looked, how a training went. What draws needs matplotlib, the extra `plot`."""

from .attention import AttentionMap, DrawingWarning, Tokens, checked_format
from .curves import draw_history
from .fonts import FontError

__all__ = ["AttentionMap", "DrawingWarning", "FontError", "Tokens", "checked_format", "draw_history"]
