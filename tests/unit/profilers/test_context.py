"""What is told of a processor."""

from __future__ import annotations

import platform

from profilers.context import may_use_tiles, read_context, usable_flags


def test_tiles_that_linux_refuses_are_not_told() -> None:
    flags = ["amx_bf16", "amx_int8", "amx_tile", "avx2"]
    assert usable_flags(flags, lambda: True) == flags
    assert usable_flags(flags, lambda: False) == ["avx2"]


def test_a_processor_without_tiles_is_not_asked() -> None:
    assert usable_flags(["avx2", "fma"], lambda: 1 / 0 == 0) == ["avx2", "fma"]


def test_this_machine_tells_tiles_only_where_they_may_be_used() -> None:
    told = "amx_tile" in read_context()["cpu"]["flags"]
    assert not told or (may_use_tiles() and platform.machine() == "x86_64")
