"""Tuning records that come with nasc."""

from __future__ import annotations

import hashlib
import json
import lzma
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tvm", reason="needs apache-tvm (extra 'tvm')")

from tvm_kernels import product
from tvm_records import keep, key_here

from nasc.errors import RecordsDamaged
from nasc.lowering.tuned_kernels import KernelRecords
from nasc.lowering.tuning.records import best_records
from nasc.lowering.tuning.shipped import (
    ABOUT,
    FOLDER,
    RECORDS,
    Provenance,
    shipped_records,
    write_shipped,
)
from profilers.context import read_context

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

CPU: dict[str, Any] = read_context()["cpu"]
KEY = key_here()
MADE = Provenance("tiny", "fp32", (8,), "nasc tune --space tiny", "2026-11-29", "0.1")
MOST_BYTES = 300_000
"""Of all that comes with nasc for a kind of processor and a space."""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> KernelRecords:
    folder = tmp_path_factory.mktemp("own")
    found = best_records(keep(folder, KEY, [product(16), product(32)]), KEY)
    assert found is not None
    return found


@pytest.fixture
def folder(records: KernelRecords, tmp_path: Path) -> Path:
    write_shipped(records, KEY, CPU, MADE, tmp_path, "tiny")
    return tmp_path


def test_a_set_is_found_again_by_the_kind_of_processor(
    records: KernelRecords, folder: Path
) -> None:
    other = replace(KEY, device="board", cpu="with more cores")
    called = CPU | {"model": "a virtual machine's name for it", "logical_cores": 96}
    assert shipped_records(called if CPU["arch"] == "x86_64" else CPU, other, folder) == records


@pytest.mark.parametrize("field", ["vendor", "family", "model_number", "arch"])
def test_another_processor_gets_none(folder: Path, field: str) -> None:
    assert shipped_records(CPU | {field: "other"}, KEY, folder) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("target", '{"kind": "llvm"}'), ("tvm_version", "9.9"), ("ffi_version", "9.9")],
)
def test_another_target_or_release_gets_none(folder: Path, field: str, value: str) -> None:
    assert shipped_records(CPU, replace(KEY, **{field: value}), folder) is None


def test_several_sets_are_one(records: KernelRecords, folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    more = best_records(keep(own, KEY, [product(8)]), KEY)
    assert more is not None
    write_shipped(more, KEY, CPU, MADE, folder, "other")
    assert shipped_records(CPU, KEY, folder) == records.over(more)


def test_a_damaged_set_is_named(folder: Path) -> None:
    path = folder / f"tiny{RECORDS}"
    packed = path.read_bytes()
    path.write_bytes(packed[:-1])
    with pytest.raises(RecordsDamaged, match=rf"'{path}' is not the file that .*Install nasc"):
        shipped_records(CPU, KEY, folder)
    path.unlink()
    with pytest.raises(RecordsDamaged, match="--no-tuned"):
        shipped_records(CPU, KEY, folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no xz", "holds no tuning records"),
        (lzma.compress(b"[1, 2]"), "holds no tuning records"),
        (lzma.compress(b'["1", "x", [[], [-1.0], {}, []]]'), "states no times"),
        (lzma.compress(b'["1", "x", [[], [1.0], {}, []]]'), "is of another target"),
        (lzma.compress(b"x" * 100)[:-20], "or ends early"),
    ],
)
def test_a_set_that_holds_something_else_is_refused(
    folder: Path, content: bytes, message: str
) -> None:
    (folder / f"tiny{RECORDS}").write_bytes(content)
    path = folder / f"tiny{ABOUT}"
    about = json.loads(path.read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(about))
    with pytest.raises(RecordsDamaged, match=message):
        shipped_records(CPU, KEY, folder)


def test_what_comes_with_nasc_reads_and_is_small() -> None:
    for path in FOLDER.glob(f"*{ABOUT}"):
        about = json.loads(path.read_text())
        key = replace(KEY, **about["key"])
        found = shipped_records(about["processor"], key)
        assert found is not None
        assert len(found.kernels) >= about["kernels"]
        assert (FOLDER / f"{path.stem}{RECORDS}").stat().st_size < MOST_BYTES
        assert about["command"].startswith("nasc tune ")
