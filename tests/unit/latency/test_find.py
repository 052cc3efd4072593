"""Finding the table for a question, and the message where there is none."""

import dataclasses
import json
from pathlib import Path

import pytest
from synthetic_device import TINY, make_key, make_table

from device_profiles import Noise
from nasc.architecture.space import MINILM_L6, PRESETS
from nasc.errors import TableDamaged, TableMissing, UsageError
from nasc.latency.find import find_source, find_table
from nasc.latency.table import LatencyTable, Transferred

MINILM = PRESETS["minilm-l6"]
QUERY = make_key(device="pixel6")
COMMAND = "nasc profile --device pixel6 --precision int8 --teacher NAME"


def test_the_newest_table_that_fits_is_found(tmp_path: Path) -> None:
    folders = [tmp_path / "shipped", tmp_path / "cache", tmp_path / "none"]
    old = make_table(created="2026-11-01T10:00:00+00:00")
    new = make_table(created="2026-11-02T10:00:00+00:00", seed=1)
    make_table(precision="fp32").save(folders[0])
    old.save(folders[1])
    path = new.save(folders[0])
    query = make_key(seq_len=32)
    assert find_table(folders, query, TINY).path == path
    assert find_table(folders, new.key, TINY).table.created == new.created
    assert find_table(folders, query, TINY.restrict(hidden_sizes=(16,))).path == path


def test_a_table_has_the_interval_of_the_device_as_it_is_known_now(tmp_path: Path) -> None:
    """Its noise may have been measured since; bringing it to another scale widens that."""
    made = make_table()
    made.save(tmp_path)
    query = make_key(seq_len=32)
    noise = Noise(shift=0.05, jitter_ms=0.1)
    assert find_table([tmp_path], query, TINY).table.interval == made.interval
    found = find_table([tmp_path], query, TINY, noise).table
    assert found.interval == dataclasses.replace(made.interval, shift=0.05, jitter_ms=0.1)
    assert found.interval.around(5.0).high_ms > made.interval.around(5.0).high_ms
    assert found.measured.equals(made.measured)
    slower = dataclasses.replace(query, quiet_ms=1.2 * query.quiet_ms)
    moved = find_table([tmp_path], slower, TINY, noise).table
    assert moved.interval == found.rescaled(slower.quiet_ms).interval
    assert moved.interval.shift > 0.05


def test_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(TableMissing) as caught:
        find_table([tmp_path], QUERY, TINY)
    assert str(caught.value) == (
        "no latency table for device 'pixel6' (onnxruntime, int8, 1 thread, length 128). "
        f"There is none for this device yet. Measure one: {COMMAND} --threads 1"
    )


def test_a_miss_names_what_is_there(tmp_path: Path) -> None:
    make_table(device="pixel6", precision="fp32", seq_len=128).save(tmp_path)
    make_table(device="host", seq_len=128).save(tmp_path)
    with pytest.raises(TableMissing) as caught:
        find_table([tmp_path], QUERY, TINY)
    assert str(caught.value) == (
        "no latency table for device 'pixel6' (onnxruntime, int8, 1 thread, length 128). "
        f"Tables exist for: fp32. Measure one: {COMMAND} --threads 1"
    )


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"seq_len": 64, "threads": 2}, "length 32, threads 1"),
        ({"seq_len": 32, "fingerprint": "f"}, "another processor"),
        ({"seq_len": 32, "runtime_version": "1.40.0"}, "onnxruntime 1.32.0"),
        ({"seq_len": 32, "emitter_version": 2}, "graphs of an older release"),
        ({"seq_len": 32, "batch": 8}, "batch 1"),
        ({"seq_len": 32, "quiet_ms": 1.0}, "scale of 3.9 ms"),
        ({"seq_len": 32, "reference": "f"}, "another reference network"),
        ({"seq_len": 32, "accelerator": "cuda"}, "on cpu"),
    ],
)
def test_a_near_miss_says_what_differs(
    tmp_path: Path, wanted: dict[str, object], words: str
) -> None:
    make_table().save(tmp_path)
    query = make_key(**wanted)
    with pytest.raises(TableMissing, match=rf"Tables exist for: {words}\. Measure one"):
        find_table([tmp_path], query, TINY)


def test_a_table_of_another_space_is_named(tmp_path: Path) -> None:
    make_table().save(tmp_path)
    query = make_key(seq_len=32)
    with pytest.raises(TableMissing, match=r"another search space \(tiny\)"):
        find_table([tmp_path], query, TINY.restrict(hidden_sizes=(8, 16)))


def test_an_accelerator_other_than_the_cpu_is_part_of_the_key(tmp_path: Path) -> None:
    plain, cuda = make_table(), make_table(accelerator="cuda")
    assert "accelerator" not in plain.to_text()  # as tables of before
    path = cuda.save(tmp_path)
    assert path.name.startswith("host-onnxruntime-int8-length32-batch1-cuda-threads1-embed-")
    plain.save(tmp_path)
    assert cuda.key.describe() == (
        "device 'host' (onnxruntime, int8, 1 thread, length 32, on cuda)"
    )
    found = find_table([tmp_path], cuda.key, TINY)
    assert (found.path, found.table.key) == (path, cuda.key)
    assert find_table([tmp_path], plain.key, TINY).table.key.accelerator == "cpu"
    with pytest.raises(TableMissing, match=r"exist for: batch 1; batch 1, on cuda\. Measure"):
        find_table([tmp_path], dataclasses.replace(plain.key, batch=2), TINY)


def test_a_damaged_table_is_an_error_only_where_it_is_needed(tmp_path: Path) -> None:
    path = make_table().save(tmp_path)
    path.write_bytes(path.read_bytes() + b"x")
    query = make_key(seq_len=32)
    with pytest.raises(TableDamaged, match="is damaged"):
        find_table([tmp_path], query, TINY)
    with pytest.raises(TableMissing):
        find_table([tmp_path], dataclasses.replace(query, seq_len=64), TINY)
    good = make_table().save(tmp_path / "other")
    assert find_table([tmp_path, tmp_path / "other"], query, TINY).path == good


def test_the_command_names_what_is_not_usual() -> None:
    query = dataclasses.replace(QUERY, seq_len=32, threads=2, batch=4, head="hidden")
    assert query.command() == f"{COMMAND} --seq-len 32 --batch 4 --threads 2 --head hidden"
    usual = dataclasses.replace(QUERY, geometry=MINILM_L6)  # of the default teacher
    assert usual.command() == "nasc profile --device pixel6 --precision int8 --threads 1"
    assert query.describe() == (
        "device 'pixel6' (onnxruntime, int8, 2 threads, length 32, batch 4, head hidden)"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("seq_len", 0), ("threads", -1), ("batch", True), ("precision", "int4")),
        *(("quiet_ms", 0.0), ("quiet_ms", float("nan")), ("accelerator", "npu")),
    ],
)
def test_impossible_settings_are_refused(field: str, value: object) -> None:
    with pytest.raises(UsageError, match=r"got|unknown precision|known: cpu, cuda"):
        dataclasses.replace(QUERY, **{field: value})


def test_a_table_of_another_release_is_not_there(tmp_path: Path) -> None:
    path = make_table().save(tmp_path)
    path.write_text(path.read_text().replace("version 4", "version 1", 1))
    with pytest.raises(TableMissing, match="There is none for this device yet"):
        find_table([tmp_path], make_key(seq_len=32), TINY)
    good = make_table(seed=1).save(tmp_path / "new")
    assert find_table([tmp_path, tmp_path / "new"], make_key(seq_len=32), TINY).path == good


def test_cores_are_part_of_what_a_table_is_called() -> None:
    held = make_key(device="pixel6", options='{"arena": true, "cores": [7, 6]}')
    assert held.cores == (6, 7)
    assert "cores 6-7" in held.describe()
    assert held.command().endswith("--threads 1 --cluster 0xc0")
    many = json.dumps({"cores": [*range(64), 66]})
    assert "cores 0-63 66)" in make_key(options=many).describe()
    odd = ("x", "[", "{", "1e999", "null", '["x"]', "[-1, 1e999]", "[0.5", "[" * 9999)
    for text in ("", "[]", "{}", *(f'{{"cores": {one}}}' for one in odd)):
        assert make_key(options=text).cores == ()


ORIGIN = Transferred("device 'board'", "Made-up", "0" * 16, "1.32.0", "2026-11-01", 20)


def transferred(table: LatencyTable) -> LatencyTable:
    return dataclasses.replace(table, transferred=ORIGIN)


def test_a_table_that_was_measured_whole_comes_before_one_that_was_transferred(
    tmp_path: Path,
) -> None:
    query = make_key(seq_len=32)
    part = transferred(make_table(created="2026-11-04T10:00:00+00:00")).save(tmp_path)
    assert find_table([tmp_path], query, TINY).path == part
    with pytest.raises(TableMissing):
        find_table([tmp_path], query, TINY, transferred=False)
    whole = make_table().save(tmp_path)
    assert part != whole
    assert find_table([tmp_path], query, TINY).path == whole


def test_the_source_of_a_transfer_is_the_most_alike_of_a_device(tmp_path: Path) -> None:
    def found(query_precision: str, **query: int) -> tuple[str, int, int] | None:
        key = make_key(device="new", precision=query_precision, **query)
        one = find_source(tmp_path, "board", key, TINY)
        if one is None:
            return None
        key = one.table.key
        return key.precision, key.seq_len, key.threads

    assert found("int8") is None
    transferred(make_table(device="board")).save(tmp_path)
    make_table(device="host").save(tmp_path)
    assert found("int8") is None
    for precision, seq_len, threads in (("fp32", 32, 1), ("int8", 64, 1), ("int8", 32, 2)):
        make_table(device="board", precision=precision, seq_len=seq_len, threads=threads).save(
            tmp_path
        )
    assert found("int8", seq_len=32, threads=1) == ("int8", 32, 2)  # length before threads
    assert found("int8", seq_len=64, threads=2) == ("int8", 64, 1)
    assert found("fp32", seq_len=64, threads=2) == ("fp32", 32, 1)  # precision before all
    assert find_source(tmp_path, "board", make_key(), MINILM) is None


def test_a_table_after_load_is_another_one(tmp_path: Path) -> None:
    hot = json.dumps({"arena": True, "sustained_minutes": 10.0}, sort_keys=True)
    made = make_table(options=hot)
    made.save(tmp_path)
    assert made.key.sustained_minutes == 10.0
    assert "after 10 minutes of load)" in made.key.describe()
    assert made.key.command().endswith("--sustained 10")
    assert find_table([tmp_path], made.key, TINY).table.key == made.key
    with pytest.raises(TableMissing, match="other runtime options, after 10 minutes of load"):
        find_table([tmp_path], make_key(seq_len=32), TINY)
    for wrong in ('{"sustained_minutes": "x"}', '{"sustained_minutes": 1e9}', "[", "{}"):
        assert make_key(options=wrong).sustained_minutes is None
