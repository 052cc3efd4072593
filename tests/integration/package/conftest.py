"""Tiny packages, and the Kotlin of those for Android, compiled once."""

from collections.abc import Callable
from pathlib import Path

import pytest
from kotlin_classes import KotlinClasses, compiled
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


@pytest.fixture(scope="session")
def android_package(build_app: Callable[..., Path]) -> Path:
    """A package for Android; tests must not change it."""
    return build_app("android")


@pytest.fixture(scope="session")
def kotlin_classes(android_package: Path, shared_folder: Path) -> KotlinClasses:
    """The Kotlin of `android_package`, compiled once for all processes of a run."""
    return compiled(shared_folder, android_package)
