"""Tables that travel: what is sent, what is taken in and from whom, what it may replace."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shared_tables import measurement_of, opener, opener_of, packed, sound_table
from synthetic_device import TINY

import profilers
from nasc import api
from nasc.cli.tables import _usable
from nasc.errors import NascError, TableDamaged, TableMissing, TableRefused, UsageError
from nasc.latency.find import find_table
from nasc.latency.key import options_text
from nasc.latency.profile import Profiled
from nasc.latency.table import LatencyTable, Transferred, load_table
from nasc.latency.table_paths import SUFFIX, samples_path, tables_folder
from profilers.errors import DeviceUnreachable

ELSEWHERE = opener_of(fingerprint="elsewhere")
NEWER = opener_of(runtime_version="2")


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return sound_table()


@pytest.fixture
def cache(table: LatencyTable, tmp_path: Path) -> Path:
    """A cache with that table and its samples."""
    saved(table, tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def sent(cache: Path, table: LatencyTable, tmp_path: Path) -> Path:
    """The table as it is sent, with its samples."""
    output = tmp_path / "sent.latency.csv"
    return api.export_table(name_of(table), output, samples=True, cache=cache).path


def saved(table: LatencyTable, cache: Path) -> Path:
    path = table.save(tables_folder(cache))
    samples_path(path).write_bytes(packed(measurement_of(table)))
    return path


def name_of(table: LatencyTable) -> str:
    return table.file_name().removesuffix(SUFFIX)


# Sent


def test_a_table_is_sent_as_the_same_bytes_each_time(
    cache: Path, table: LatencyTable, tmp_path: Path
) -> None:
    found = api.export_table(name_of(table), tmp_path / "a.csv", cache=cache)
    assert found.path.read_text(encoding="utf-8") == table.to_text()
    assert (found.size_bytes, found.samples) == (found.path.stat().st_size, False)
    contents = {
        api.export_table(name_of(table), tmp_path / name, samples=True, cache=cache)
        .path.read_bytes()
        for name in ("b.csv", "c.csv")
    }  # fmt: skip
    assert len(contents) == 1
    assert contents != {found.path.read_bytes()}


def test_no_file_is_replaced_unless_forced(
    cache: Path, table: LatencyTable, tmp_path: Path
) -> None:
    output = tmp_path / "a.csv"
    output.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"exists\. Replace it: --force; .*--output FILE"):
        api.export_table(name_of(table), output, cache=cache)
    assert output.read_text(encoding="utf-8") == "mine"
    api.export_table(name_of(table), output, cache=cache, force=True)
    assert load_table(output).to_text() == table.to_text()


def test_samples_that_are_missing_or_of_another_table_are_not_sent(
    cache: Path, table: LatencyTable, tmp_path: Path
) -> None:
    beside = samples_path(tables_folder(cache) / table.file_name())
    beside.write_bytes(packed(measurement_of(table, 1.1)))
    output = tmp_path / "a.csv"
    with pytest.raises(TableDamaged, match=r"cannot be sent .*its samples give .*Leave --samples"):
        api.export_table(name_of(table), output, samples=True, cache=cache)
    beside.unlink()
    with pytest.raises(TableDamaged, match=r"cannot be read: .*No such file.*Leave --samples out"):
        api.export_table(name_of(table), output, samples=True, cache=cache)
    assert not output.exists()


def test_a_table_that_contradicts_itself_is_not_sent(tmp_path: Path) -> None:
    table = sound_table()
    broken = dataclasses.replace(table, held_out=table.held_out[1:])
    broken.save(tables_folder(tmp_path))
    with pytest.raises(TableDamaged, match=r"cannot be sent .*30 errors.*nasc profile .* --force"):
        api.export_table(name_of(table), tmp_path / "a.csv", cache=tmp_path)


def test_a_table_is_named_by_any_part_that_is_its_own(cache: Path, table: LatencyTable) -> None:
    saved(sound_table(seq_len=16), cache)
    name = name_of(table)
    digest = name.rpartition("-")[2]
    for text in (name, name + SUFFIX, digest, digest[:8], "host-onnxruntime-int8-length32"):
        assert api.show_table(text, cache=cache, opener=opener).listed.name == name
    with pytest.raises(UsageError, match=r"2 tables are named 'host': host-onnxruntime.*hash"):
        api.show_table("host", cache=cache, opener=opener)
    near = name.replace("int8", "int9")
    with pytest.raises(TableMissing, match=r"Did you mean 'host-.*'\? List them: nasc tables list"):
        api.show_table(near, cache=cache, opener=opener)
    with pytest.raises(TableMissing, match=r"neither a name in the cache .* nor a file"):
        api.show_table("", cache=cache, opener=opener)
    with pytest.raises(TableMissing, match=r"no latency table '~nobody-at-all/x'"):
        api.show_table("~nobody-at-all/x", cache=cache, opener=opener)


# Taken in


def test_a_table_of_such_a_machine_is_taken_and_found(
    sent: Path, table: LatencyTable, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    found = api.import_table(sent, cache=other, opener=opener)
    assert found.table.key == table.key
    assert found.table.foreign is None
    assert found.table.imported is not None
    assert (found.samples, found.replaced) == (True, ())
    assert samples_path(found.path).read_bytes() == packed(measurement_of(table))
    looked_up = find_table([tables_folder(other)], table.key, TINY)
    assert looked_up.path == found.path
    assert looked_up.table.imported == found.table.imported
    again = api.export_table(name_of(table), tmp_path / "b.csv", samples=True, cache=other)
    assert again.path.read_bytes() == sent.read_bytes()


@pytest.mark.parametrize(
    ("there", "differs", "note"),
    [
        (
            ELSEWHERE,
            r"another processor \(fingerprint synthetic, here elsewhere\)",
            "latency table imported from another machine: onnxruntime int8 by Made-up CPU @ "
            "2.20GHz (fingerprint synthetic), onnxruntime 1",
        ),
        (
            NEWER,
            "onnxruntime 1, here 2",
            "latency table imported from another version of the runtime: onnxruntime int8 by "
            "onnxruntime 1 (here 2)",
        ),
        (
            opener_of(fingerprint="elsewhere", runtime_version="2"),
            "another processor .*; onnxruntime 1, here 2",
            "latency table imported from another machine: onnxruntime int8 by Made-up CPU @ "
            "2.20GHz (fingerprint synthetic), onnxruntime 1 (here 2)",
        ),
    ],
)
def test_a_table_of_another_machine_is_taken_only_where_that_is_accepted_and_says_so(
    there: Any, differs: str, note: str, sent: Path, table: LatencyTable, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    with pytest.raises(
        TableRefused,
        match=rf"Made-up CPU .*does not fit device 'host' as it is here: {differs}\..*"
        r"nasc profile --device host .*--accept-other-machine",
    ):
        api.import_table(sent, cache=other, opener=there)
    assert not tables_folder(other).exists()
    found = api.import_table(sent, cache=other, opener=there, accept_other_machine=True)
    assert found.table.foreign == note
    assert found.to_dict()["foreign"] == note
    assert ("note", note) in found.rows()
    query = dataclasses.replace(
        table.key,
        fingerprint=there().context["fingerprint"],
        runtime_version=there().context["runtime_version"],
    )
    looked_up = find_table([tables_folder(other)], query, TINY)
    assert looked_up.table.foreign == note
    assert looked_up.table.rescaled(4.0).foreign == note
    profiled = Profiled(looked_up.table, looked_up.path, fresh=False)
    assert profiled.to_dict()["foreign"] == profiled.summary()["note"] == note
    shown = api.show_table(found.path.name, cache=other, opener=there)
    assert ("note", note) in shown.rows()
    assert shown.to_dict()["foreign"] == note
    [listed] = api.tables(cache=other, opener=there)
    assert (listed.unusable, listed.to_dict()["foreign"]) == (None, note)
    again = api.export_table(found.path.name, tmp_path / "b.csv", samples=True, cache=other)
    assert again.path.read_bytes() == sent.read_bytes()  # under the key of where it was measured


def test_what_was_measured_here_is_taken_before_what_was_imported(
    sent: Path, table: LatencyTable, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    api.import_table(sent, cache=other, opener=ELSEWHERE, accept_other_machine=True)
    own = sound_table(
        fingerprint="elsewhere", created="2026-11-01T10:00:00+00:00", quiet_ms=3.8, seed=1
    )
    path = own.save(tables_folder(other))
    assert own.created < table.created
    assert find_table([tables_folder(other)], own.key, TINY).path == path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": '{"arena": true}'}, "other runtime options"),
        ({"emitter_version": 1}, "graphs of another release of nasc"),
        ({"statistic": "mean"}, "statistic mean, here quiet-paired-ratio"),
        ({"reference": "0" * 16}, "another reference network"),
        ({"accelerator": "cuda"}, "measured on cuda, the device computes on cpu"),
        ({"records": "ab" * 32}, "other tuning records"),
    ],
)
def test_what_can_never_be_compared_is_refused_whatever_is_accepted(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.latency.csv"
    path.write_text(sound_table(**changes).to_text(), encoding="utf-8")
    with pytest.raises(TableRefused, match=rf"cannot be used on device 'host': {words}\. Measure"):
        api.import_table(path, cache=tmp_path, opener=opener, accept_other_machine=True)


def test_a_scale_too_far_from_the_device_s_is_refused(
    sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow:
        quiet_ms = 10.0

    monkeypatch.setattr(profilers, "load_baseline", lambda *_, **about: Slow())
    with pytest.raises(TableRefused, match=r"took 3\.9 ms, here it takes 10: too far apart"):
        api.import_table(sent, cache=tmp_path, opener=opener, accept_other_machine=True)


def test_a_precision_that_the_device_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.latency.csv"
    table = sound_table(runtime="openvino", precision="bf16", emitter_version=openvino_version())
    path.write_text(table.to_text(), encoding="utf-8")
    with pytest.raises(TableRefused, match="the device does not compute in bf16"):
        api.import_table(path, cache=tmp_path, opener=opener)


def openvino_version() -> int:
    pytest.importorskip("openvino")
    from nasc.lowering import get_lowering

    return get_lowering("openvino").VERSION


def test_a_device_is_named_here_and_never_taken_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is a path would have that file read, and its command run."""
    monkeypatch.chdir(tmp_path)
    Path("evil.toml").write_text("name = 'evil'\n", encoding="utf-8")
    path = tmp_path / "x.latency.csv"
    for name in ("./evil.toml", "board"):
        path.write_text(sound_table(device=name).to_text(), encoding="utf-8")
        with pytest.raises(UsageError, match=r"is not known here\. Say which .*: --device NAME"):
            api.import_table(path, cache=tmp_path, opener=opener)
    found = api.import_table(path, device="host", cache=tmp_path, opener=opener)
    assert found.table.key.device == "host"
    assert found.table.imported is not None
    assert found.table.imported.device == "board"
    assert found.path.name.startswith("host-")


def test_a_table_of_a_device_that_is_away_is_taken_unchecked(sent: Path, tmp_path: Path) -> None:
    found = api.import_table(sent, cache=tmp_path, opener=unreachable)
    assert found.unchecked is not None
    assert "which cannot be reached (no cable)" in found.unchecked
    assert "if it has the fingerprint synthetic and onnxruntime 1;" in found.unchecked
    assert found.to_dict()["unchecked"] == found.unchecked
    assert found.table.key.fingerprint == "synthetic"
    # Only what the device alone can tell is not known.
    old = tmp_path / "old.csv"
    old.write_text(sound_table(emitter_version=1).to_text(), encoding="utf-8")
    with pytest.raises(TableRefused, match="graphs of another release"):
        api.import_table(old, cache=tmp_path, opener=unreachable)


def unreachable(*_: object) -> Any:
    raise DeviceUnreachable("no cable")


# What it may replace


def test_a_table_that_was_measured_here_goes_only_by_force(
    sent: Path, table: LatencyTable, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    own = sound_table(quiet_ms=3.8, seed=1)
    kept = saved(own, other)
    with pytest.raises(
        TableRefused,
        match=rf"{name_of(own)} \(measured here, .*nasc tables import FILE --force; keep it first",
    ):
        api.import_table(sent, cache=other, opener=opener)
    assert load_table(kept).to_text() == own.to_text()
    found = api.import_table(sent, cache=other, opener=opener, force=True)
    assert [text.split(" ")[0] for text in found.replaced] == [name_of(own)]
    assert not kept.exists()
    assert not samples_path(kept).exists()
    assert find_table([tables_folder(other)], table.key, TINY).path == found.path


def test_an_imported_table_takes_the_place_of_another_that_was(
    sent: Path, table: LatencyTable, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    first = api.import_table(sent, cache=other, opener=opener)
    plain = tmp_path / "plain.latency.csv"
    plain.write_text(table.to_text(), encoding="utf-8")
    second = api.import_table(plain, cache=other, opener=opener)
    assert second.path == first.path
    assert second.replaced == (f"{name_of(table)} (imported, created {table.created})",)
    assert not samples_path(second.path).exists()  # they were the other one's


@pytest.mark.parametrize("force", [False, True])
def test_a_table_that_answers_more_stays(table: LatencyTable, tmp_path: Path, force: bool) -> None:
    larger, smaller = tmp_path / "larger.csv", tmp_path / "smaller.csv"
    larger.write_text(table.to_text(), encoding="utf-8")
    small = sound_table(TINY.restrict(hidden_sizes=(32,), operations=("mha", "ffn")), seed=1)
    smaller.write_text(small.to_text(), encoding="utf-8")
    cache = tmp_path / "cache"
    first = api.import_table(larger, cache=cache, opener=opener)
    with pytest.raises(
        TableRefused,
        match=rf"and layers that it does not: {name_of(table)} \(imported.*nasc tables export",
    ):
        api.import_table(smaller, cache=cache, opener=opener, force=force)
    assert [path.name for path in tables_folder(cache).glob(f"*{SUFFIX}")] == [first.path.name]


def transferred(table: LatencyTable) -> LatencyTable:
    origin = Transferred("device 'x'", "Made-up CPU @ 3", "0" * 16, "1.32.0", "2026-11-01", 20)
    return dataclasses.replace(table, transferred=origin)


def test_a_transferred_table_is_one_wherever_it_is_taken(
    cache: Path, table: LatencyTable, tmp_path: Path
) -> None:
    """It takes no place of one that was measured whole, nor is its place taken by that."""
    part = transferred(table)
    there = saved(part, tmp_path / "there")
    output = tmp_path / "part.latency.csv"
    api.export_table(name_of(part), output, samples=True, cache=tmp_path / "there")
    found = api.import_table(output, cache=cache, opener=opener)
    assert found.replaced == ()
    assert (found.table.transferred, found.path.name) == (part.transferred, there.name)
    assert found.table.note == part.note
    assert find_table([tables_folder(cache)], table.key, TINY).table.transferred is None
    listed = {one.name: one.to_dict() for one in api.tables(cache=cache, opener=opener)}
    assert listed[name_of(part)]["transferred"]["source"] == "device 'x'"
    assert listed[name_of(table)]["transferred"] is None


def test_what_a_transferred_table_says_of_its_source_acts_on_nothing(
    table: LatencyTable, tmp_path: Path
) -> None:
    part = transferred(table)
    assert part.transferred is not None
    for text in ("=1+1", "a\x1b[31m"):
        bad = dataclasses.replace(part.transferred, source=text)
        path = tmp_path / "bad.latency.csv"
        path.write_text(dataclasses.replace(part, transferred=bad).to_text(), encoding="utf-8")
        with pytest.raises(TableDamaged, match=r"transferred\.source"):
            api.import_table(path, cache=tmp_path, opener=opener)


@pytest.mark.parametrize("changes", [{"precision": "fp32"}, {"seq_len": 16}, {"batch": 2}])
def test_tables_for_something_else_stay(
    changes: dict[str, Any], sent: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    kept = saved(sound_table(**changes), other)
    assert api.import_table(sent, cache=other, opener=opener).replaced == ()
    assert kept.exists()


def test_a_cache_that_cannot_be_written_is_one_message(sent: Path, tmp_path: Path) -> None:
    tables_folder(tmp_path).write_text("a file where a folder should be", encoding="utf-8")
    with pytest.raises(NascError, match=r"cannot write the latency table to .*--cache DIR"):
        api.import_table(sent, cache=tmp_path, opener=opener)


# Listed


def test_every_table_is_listed_with_why_it_is_not_used(
    cache: Path, table: LatencyTable, tmp_path: Path
) -> None:
    folder = tables_folder(cache)
    (folder / f"a-damaged{SUFFIX}").write_bytes(b"\xff\x00")
    old = table.to_text().replace("version 4", "version 3", 1)
    (folder / f"b-older{SUFFIX}").write_text(old, encoding="utf-8")
    (folder / "host-x.probes.json").write_text("{}", encoding="utf-8")
    (folder / f"c-folder{SUFFIX}").mkdir()
    for changes in ({"device": "board"}, {"fingerprint": "other"}, {"runtime_version": "9"}):
        sound_table(**changes).save(folder)
    found = {one.name: one for one in api.tables(cache=cache, opener=opener)}
    reasons = [one.unusable for one in found.values()]
    assert len(found) == 7
    assert found["a-damaged"].unusable.startswith("damaged: ")
    assert "has version 3, this nasc reads 4" in found["b-older"].unusable
    assert found["c-folder"].unusable == "damaged: it is no file but a folder"
    assert "device 'board' is not known here by its name (nasc devices)" in reasons
    assert "another processor (fingerprint other, here synthetic)" in reasons
    assert "onnxruntime 9, here 1" in reasons
    usable = [one for one in found.values() if one.unusable is None]
    assert [one.name for one in usable] == [name_of(table)]
    told = usable[0].to_dict()
    assert told["created"] == table.created
    assert told["processor"] == "Made-up CPU @ 2.20GHz"
    assert (told["runtime_version"], told["entries"]) == ("1", len(table.entries))
    assert (told["usable"], told["reason"], told["foreign"]) == (True, None, None)


def test_a_table_of_some_cores_is_asked_of_these_cores(tmp_path: Path) -> None:
    tables = []
    for cores in (None, (0,), (0, 1)):
        options = profilers.RuntimeOptions(threads=1, cores=cores)
        table = sound_table(options=options_text(options.to_dict()))
        table.save(tables_folder(tmp_path))
        tables.append(table)
    assert [one.unusable for one in api.tables(cache=tmp_path, opener=opener)] == [None] * 3
    file = tmp_path / "sent.csv"
    file.write_text(tables[2].to_text(), encoding="utf-8")
    found = api.import_table(file, cache=tmp_path / "other", opener=opener)
    assert found.table.key == tables[2].key


def test_a_table_of_an_emulated_device_is_not_usable(cache: Path, table: LatencyTable) -> None:
    emulated = dataclasses.replace(table, context={**table.context, "emulated": True})
    emulated.save(tables_folder(cache))
    [one] = api.tables(cache=cache, opener=opener)
    assert one.unusable == "emulated: its milliseconds mean nothing, no search takes it"
    shown = api.show_table(name_of(table), cache=cache, opener=opener)
    assert not shown.to_dict()["usable"]
    assert _usable(one) == "emulated"


def test_a_device_that_cannot_be_asked_is_the_reason(cache: Path) -> None:
    [one] = api.tables(cache=cache, opener=unreachable)
    assert one.unusable == "device 'host' cannot be asked: no cable"


def test_a_cache_without_tables_has_none(tmp_path: Path) -> None:
    assert api.tables(cache=tmp_path, opener=unreachable) == []


# Shown


def test_what_a_table_is_and_holds_is_shown(cache: Path, table: LatencyTable, sent: Path) -> None:
    for named in (name_of(table), sent):
        found = api.show_table(named, cache=cache, opener=opener)
        rows = dict(found.rows())
        assert rows["processor"] == "Made-up CPU @ 2.20GHz (fingerprint synthetic)"
        assert rows["measured"] == f"{table.created} by nasc 0.1"
        assert rows["runtime"] == "onnxruntime 1, threads 1"
        assert rows["protocol"] == "max_rounds 36"
        assert rows["usable here"] == "yes"
        assert rows["held-out error"].endswith(f"of {len(table.held_out)} networks")
        costs = [cost["cost_ms"] for cost in found.to_dict()["costs"]]
        assert costs == sorted(table.entries["cost_ms"], reverse=True)


def test_a_file_that_is_shown_is_checked_as_one_that_is_taken_in(
    cache: Path, table: LatencyTable, tmp_path: Path
) -> None:
    path = tmp_path / "x.latency.csv"
    path.write_text(dataclasses.replace(table, held_out=()).to_text(), encoding="utf-8")
    ways: list[Callable[[], object]] = [
        lambda: api.show_table(path, cache=cache, opener=opener),
        lambda: api.import_table(path, cache=cache, opener=opener),
        lambda: api.diff_tables(name_of(table), path, cache=cache),
    ]
    for way in ways:
        with pytest.raises(TableDamaged, match="is refused: it holds 31 networks"):
            way()


# Compared


def test_tables_are_compared_cost_by_cost(cache: Path, table: LatencyTable, tmp_path: Path) -> None:
    entries = table.entries.assign(cost_ms=2 * table.entries["cost_ms"])
    entries.loc[0, "cost_ms"] *= 3
    other = dataclasses.replace(
        table, entries=entries, key=dataclasses.replace(table.key, quiet_ms=4.0)
    )
    other.save(tables_folder(cache))
    found = api.diff_tables(name_of(table), name_of(other), cache=cache)
    told = found.to_dict()
    assert told["keys"] == {"quiet_ms": {"a": 3.9, "b": 4.0}}
    assert told["ratio"]["median"] == pytest.approx(2)
    assert told["ratio"]["p10"] == pytest.approx(2)
    assert told["ratio"]["largest"] == {"layer": "embedding 32", "ratio": pytest.approx(6)}
    assert told["common"] == len(table.entries)
    assert (told["only_a"], told["only_b"]) == ([], [])
    zero = [entry for entry in found.entries if entry.a_ms == 0]
    assert zero
    assert all(entry.ratio is None for entry in zero)


def test_what_is_to_be_said_of_compared_tables_is_said(cache: Path, table: LatencyTable) -> None:
    other = transferred(table)
    other.save(tables_folder(cache))
    found = api.diff_tables(name_of(table), name_of(other), cache=cache)
    assert found.to_dict()["notes"] == {"a": None, "b": other.note}
    assert ("note on b", other.note) in found.rows()


def test_costs_that_only_one_table_has_are_named(cache: Path, table: LatencyTable) -> None:
    smaller = sound_table(TINY.restrict(hidden_sizes=(32,), operations=("mha", "ffn")))
    smaller.save(tables_folder(cache))
    found = api.diff_tables(name_of(table), name_of(smaller), cache=cache)
    assert [str(layer) for layer in found.only_a if layer.kind == "sep3"] == ["sep3 16", "sep3 32"]
    assert found.only_b == ()
    assert ("only in a", ", ".join(map(str, found.only_a))) in found.rows()
    other = api.diff_tables(name_of(smaller), name_of(table), cache=cache)
    assert other.only_b == found.only_a


def test_the_same_table_is_the_same(cache: Path, table: LatencyTable) -> None:
    told = api.diff_tables(name_of(table), name_of(table), cache=cache).to_dict()
    assert told["keys"] == {}
    assert told["ratio"] == {
        "median": 1.0,
        "p10": 1.0,
        "p90": 1.0,
        "largest": {"layer": "embedding 32", "ratio": 1.0},
    }
