"""NASC: a hardware-aware deployment compiler for BERT-like text encoders.

Importing this package loads none of the heavy libraries (torch, onnxruntime,
transformers): they are imported by the modules that use them, when first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasc.version import __version__

if TYPE_CHECKING:
    from nasc.api import Limits, Options, Settings, compile, profile, search, train

_OF_API = ("Limits", "Options", "Settings", "compile", "profile", "search", "train")

__all__ = ["Limits", "Options", "Settings", "__version__", "compile", "profile", "search", "train"]


def __getattr__(name: str) -> Any:
    if name in _OF_API:
        from nasc import api

        return getattr(api, name)
    raise AttributeError(f"module 'nasc' has no attribute {name!r}")
