"""Libraries of kernels that are compiled once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("tvm", reason="needs apache-tvm (extra 'tvm')")

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.lowering import get_lowering, tvm_objects
from nasc.networks.network import Network, random_network
from profilers.runtimes.tvm_targets import flags_of_kind

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

GEOMETRY = Geometry(1, 32, 32, 64, 50, 16)
CPU = {"arch": "x86_64", "flags": sorted(flags_of_kind("avx2"))}


def network(hidden: int, operation: str, precision: str) -> Network:
    return random_network(Architecture((Block(hidden, (operation,)),), precision), GEOMETRY)


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    tvm_objects._object.cache_clear()
    yield
    tvm_objects._object.cache_clear()


def library(own: Network, folder: Path) -> bytes:
    made = get_lowering("tvm").lower(own, folder, "model", shape=(1, 8), processor=CPU)
    return made.path.read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_networks_share_kernels_and_come_out_as_alone(precision: str, tmp_path: Path) -> None:
    alone = library(network(32, "ffn", precision), tmp_path)
    compiled = tvm_objects._object.cache_info().misses
    assert compiled > 3
    tvm_objects._object.cache_clear()
    library(network(32, "mha", precision), tmp_path)
    before = tvm_objects._object.cache_info()
    assert library(network(32, "ffn", precision), tmp_path) == alone
    after = tvm_objects._object.cache_info()
    assert after.hits - before.hits >= 3
    assert after.misses - before.misses == compiled - (after.hits - before.hits)


def test_kernels_of_one_name_and_other_sizes_are_others(tmp_path: Path) -> None:
    """The mean is called so whatever the hidden size is."""
    small = library(network(32, "ffn", "int8"), tmp_path)
    assert library(network(64, "ffn", "int8"), tmp_path) != small
    tvm_objects._object.cache_clear()
    large = library(network(64, "ffn", "int8"), tmp_path)
    tvm_objects._object.cache_clear()
    library(network(32, "ffn", "int8"), tmp_path)
    assert library(network(64, "ffn", "int8"), tmp_path) == large


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_threads_do_not_change_a_byte(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = set()
    for threads in (1, 4):
        tvm_objects._object.cache_clear()
        monkeypatch.setattr(tvm_objects, "usable_cores", lambda count=threads: count)
        made.add(library(network(32, "ffn", precision), tmp_path))
    assert len(made) == 1
