"""A page and a JSON interface to trained models: `fastattn serve`. Needs the extra `serve`, but for the limits."""

from .limits import Limits

__all__ = ["Limits"]
