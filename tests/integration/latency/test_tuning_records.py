"""Tuning records of a device reach the keys of its tables, and what is compiled for it."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tvm", reason="needs apache-tvm (extra 'tvm')")

from synthetic_device import make_key as made_up_key
from synthetic_device import make_table
from tvm_kernels import product
from tvm_records import GEOMETRY, SHAPE, keep, kernels, key_here, network

import device_profiles
from nasc.errors import RecordsDamaged, RecordsRefused
from nasc.latency.emission import emit_jobs
from nasc.latency.offline import OfflineSession
from nasc.latency.profile import make_key
from nasc.latency.session import MeasurementSession
from nasc.latency.table_paths import tables_folder
from nasc.latency.tuning_records import find_records
from nasc.lowering.tuned_kernels import KernelRecords
from nasc.lowering.tuning.records import KEY_FILE, best_records
from nasc.lowering.tuning.shipped import Provenance, write_shipped
from nasc.lowering.tvm_module import DATABASE
from profilers.context import read_context

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

CPU = read_context()["cpu"]
KEY = key_here()
HOST = device_profiles.find("host")


def session(cache: Path, said: list[str] | None = None, **options: bool) -> MeasurementSession:
    say = None if said is None else said.append
    return MeasurementSession.on(HOST, cache, 1, "tvm", say=say, **options)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _without_those_of_nasc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("nasc.lowering.tuning.shipped.FOLDER", tmp_path / "none")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where `nasc tune` keeps records of this machine, with one of a kernel."""
    return keep(KEY.folder(tables_folder(tmp_path)), KEY, [product(16)])


def found(folder: Path) -> KernelRecords:
    records = best_records(folder, KEY)
    assert records is not None
    return records


def test_a_session_compiles_by_the_records_beside_its_tables(tmp_path: Path) -> None:
    keep(KEY.folder(tables_folder(tmp_path)), KEY, kernels())
    said: list[str] = []
    made = session(tmp_path, said).lower(network(), tmp_path, "tuned", SHAPE)
    assert made.tuned is not None
    assert made.tuned.untuned == ()
    assert len(said) == 1
    assert f"of {made.tuned.tuned} kernels from '{tables_folder(tmp_path)}" in said[0]
    plain = session(tmp_path, tuned=False).lower(network(), tmp_path, "plain", SHAPE)
    assert plain.tuned is None
    assert plain.path.read_bytes() != made.path.read_bytes()


def test_networks_of_tables_can_be_made_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that one is sent, and sends back, goes through pickle, records too."""

    def sent(function: Callable[..., Any], calls: Sequence[Sequence[Any]]) -> list[Any]:
        return [_pickled(function(*_pickled(tuple(call)))) for call in calls]

    monkeypatch.setattr("nasc.latency.emission.run_in_processes", sent)
    keep(KEY.folder(tables_folder(tmp_path)), KEY, kernels())
    said: list[str] = []
    key = made_up_key(runtime="tvm", precision="fp32", geometry=GEOMETRY, seq_len=SHAPE[1])
    (job,) = emit_jobs([network().architecture], key, session(tmp_path, said), tmp_path)
    assert job.path.is_file()
    assert job.name == str(network().architecture)
    assert "kernels of 1 networks by tuning records " in said[-1]


def _pickled(content: Any) -> Any:
    return pickle.loads(pickle.dumps(content))


def test_other_records_are_another_table_s_key(folder: Path, tmp_path: Path) -> None:
    hashes = {
        "none": session(tmp_path / "empty").records_sha256("fp32"),
        "left out": session(tmp_path, tuned=False).records_sha256("fp32"),
        "int8": session(tmp_path).records_sha256("int8"),
        "one": session(tmp_path).records_sha256("fp32"),
    }
    assert hashes == {"none": "", "left out": "", "int8": "", "one": found(folder).sha256}
    keep(folder, KEY, [product(16)], seconds=2e-3)
    assert session(tmp_path).records_sha256("fp32") == hashes["one"], "no better, no other code"
    keep(folder, KEY, [product(32)])
    assert session(tmp_path).records_sha256("fp32") not in hashes.values()


def test_a_session_keeps_the_records_that_it_began_with(folder: Path, tmp_path: Path) -> None:
    own = session(tmp_path)
    first = own.records_sha256("fp32")
    keep(folder, KEY, [product(32)])
    assert own.records_sha256("fp32") == first
    assert own.with_threads(1).records_sha256("fp32") == first


def test_no_records_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    own = session(tmp_path, said)
    assert own.records("fp32") is own.records("fp32") is None
    (line,) = said
    assert line.startswith("no tuning records for ")
    assert line.endswith(
        "with 1 thread: tvm's kernels go by general schedules. To find faster ones: "
        "nasc tune --device host"
    )


@pytest.mark.parametrize(
    ("field", "value"), [("target", '{"kind": "llvm"}'), ("tvm_version", "0.1"), ("cpu", "other")]
)
def test_records_for_something_else_are_left_out_and_named(
    folder: Path, tmp_path: Path, field: str, value: str
) -> None:
    """As after an upgrade; in a place of their own."""
    other = dataclasses.replace(KEY, **{field: value})
    place = other.folder(tables_folder(tmp_path))
    folder.rename(place)
    (place / KEY_FILE).write_text(json.dumps(dataclasses.asdict(other)))
    said: list[str] = []
    assert session(tmp_path, said).records("fp32") is None
    assert f"left out: '{place}' is of another: {field} {value!r}, here " in said[0]


def test_records_of_other_threads_are_no_news(folder: Path, tmp_path: Path) -> None:
    two = find_records("host", CPU, 2, tables_folder(tmp_path))
    assert two.records is None
    assert "with 2 threads" in two.said
    assert "left out" not in two.said


def test_records_for_something_else_in_the_place_of_these_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    about = json.loads((folder / KEY_FILE).read_text())
    (folder / KEY_FILE).write_text(json.dumps(about | {"tvm_version": "0.1"}))
    with pytest.raises(RecordsRefused, match=r"not for this: tvm_version '0.1', .*--no-tuned"):
        session(tmp_path).records("fp32")
    assert session(tmp_path, tuned=False).records("fp32") is None


def test_damaged_records_stop_before_anything_is_measured(folder: Path, tmp_path: Path) -> None:
    path = folder / DATABASE[1]
    path.write_text(path.read_text()[:-40])
    with pytest.raises(RecordsDamaged, match=r"line 1 of .* is no JSON.*rm -r .*--no-tuned"):
        session(tmp_path).records("fp32")


def test_one_s_own_come_before_those_that_come_with_nasc(folder: Path, tmp_path: Path) -> None:
    shipped, other = tmp_path / "shipped", tmp_path / "other"
    shipped.mkdir()
    theirs = found(keep(other, KEY, [product(16), product(32)], seconds=1e-6))
    made = Provenance("tiny", "fp32", (8,), "nasc tune", "2026-11-29", "0.1")
    write_shipped(theirs, KEY, CPU, made, shipped, "tiny")
    both = find_records("host", CPU, 1, tables_folder(tmp_path), shipped)
    own = found(folder)
    assert both.records == own.over(theirs)
    (digest,) = own.kernels
    assert both.records is not None
    assert both.records.kernels[digest] == own.kernels[digest] != theirs.kernels[digest]
    assert f"of 1 kernels from '{folder}' and of 1 kernels that come with nasc" in both.said
    alone = find_records("host", CPU, 1, tmp_path / "nothing", shipped)
    assert alone.records == theirs


def test_records_are_in_the_key_that_a_table_is_kept_under(folder: Path, tmp_path: Path) -> None:
    from nasc.architecture.space import MINILM_L6

    class Baseline:
        quiet_ms = 4.0
        key = dict.fromkeys(("fingerprint", "runtime_version", "reference"), "here")

    class Asked(MeasurementSession):
        _context = Baseline.key

    keys = []
    for tuned in (True, False):
        own = Asked.on(HOST, tmp_path, 1, "tvm", tuned=tuned)
        keys.append(make_key(Baseline(), own, MINILM_L6, precision="fp32"))  # type: ignore[arg-type]
        assert own.key_fields("fp32")["records"] == keys[-1].records
    assert [key.records for key in keys] == [found(folder).sha256, ""]
    assert len({key.describe() for key in keys}) == 2
    assert "records" not in keys[1].to_dict()  # as tables of before


def test_a_device_out_of_reach_has_the_records_of_its_table(tmp_path: Path) -> None:
    table = make_table(runtime="tvm", precision="fp32", records="ab" * 32)
    for tuned, wanted in ((True, "ab" * 32), (False, "")):
        own = session(tmp_path, tuned=tuned)
        fields = {one.name: getattr(own, one.name) for one in dataclasses.fields(own)}
        known = OfflineSession(**fields, known=table)
        assert known.records_sha256("fp32") == wanted
        assert known.records_sha256("int8") == ""
