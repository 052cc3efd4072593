"""Tiny packages, measured on a device that is made up."""

from tiny_packages import (
    build_app,
    make_manifest,
    make_model,
    opener,
    packed,
    process,
    shared_process,
    tokenizer,
)

__all__ = [
    "build_app",
    "make_manifest",
    "make_model",
    "opener",
    "packed",
    "process",
    "shared_process",
    "tokenizer",
]
