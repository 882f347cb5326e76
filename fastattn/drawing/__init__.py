"""Pictures: where a model looked, how a training went. What draws needs matplotlib, the extra `plot`."""

from .attention import AttentionMap, DrawingWarning, Tokens, checked_format
from .curves import draw_history, picture_of_history
from .figures import in_notebook
from .fonts import FontError

__all__ = [
    "AttentionMap",
    "DrawingWarning",
    "FontError",
    "Tokens",
    "checked_format",
    "draw_history",
    "in_notebook",
    "picture_of_history",
]
