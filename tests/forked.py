"""Processes that train, forked from one that has loaded what a training imports: that takes each
of them many seconds otherwise."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

LOADED = ("nasc.api", "nasc.supernet.shrink", "torch._dynamo", "jsonschema")
"""What a training imports, if only when it comes there."""


def forking() -> ForkServerContext:
    """As `multiprocessing` takes it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*LOADED])
    return context
