"""Packages that the core does without: what is missing is named, with the extra that brings it."""

from __future__ import annotations

import importlib
from types import ModuleType


class MissingExtraError(ImportError):
    """An option needs a package that is not installed; the message says how to install it."""


def require(package: str, extra: str, purpose: str) -> ModuleType:
    """The package, imported. MissingExtraError, beginning with `purpose`, where it is not installed."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise MissingExtraError(f"{purpose} needs {package}; install it with: pip install 'fastattn[{extra}]'") from error
