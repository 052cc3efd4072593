"""A table's file: what is saved comes back, what is damaged is found out."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_device import TINY, make_table

from nasc.architecture.layers import Layer
from nasc.architecture.space import PRESETS, Architecture, Block
from nasc.errors import LookupMiss, TableDamaged, TableMissing, UsageError
from nasc.latency.cache_misses import Streaming
from nasc.latency.plan import random_architecture
from nasc.latency.table import Imported, LatencyTable, Transferred, load_table


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return make_table(streaming=Streaming(20_000.0, 1e-5))


def test_a_table_survives_its_file(table: LatencyTable, tmp_path: Path) -> None:
    path = table.save(tmp_path / "new" / "folder")
    back = load_table(path)
    for name in (
        "key",
        "space",
        "seed",
        "interval",
        "streaming",
        "held_out",
        "quiet_ms",
        "created",
    ):
        assert getattr(back, name) == getattr(table, name)
    assert back.context == table.context
    assert back.times == table.times
    assert back.runtime_base_bytes == table.runtime_base_bytes
    pd.testing.assert_frame_equal(back.entries, table.entries, check_exact=True)
    pd.testing.assert_frame_equal(back.measured, table.measured, check_exact=True)
    assert back.to_text() == table.to_text()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "changed",
    [{"activation": "relu"}, {"buckets": 32}, {"separator": 3}, {"separator": 0}],
    ids=str,
)
def test_what_few_teachers_have_is_in_the_key(
    table: LatencyTable, tmp_path: Path, changed: dict[str, Any]
) -> None:
    [name] = changed
    assert name not in table.to_text()
    geometry = dataclasses.replace(table.space.geometry, **changed)
    key = dataclasses.replace(table.key, geometry=geometry)
    space = dataclasses.replace(table.space, geometry=geometry)
    other = dataclasses.replace(table, key=key, space=space)
    assert other.file_name() != table.file_name()
    assert load_table(other.save(tmp_path)).key == key


def test_the_file_reads_as_plain_csv(table: LatencyTable, tmp_path: Path) -> None:
    frame = pd.read_csv(table.save(tmp_path), comment="#")
    assert list(frame.columns) == ["kind", "hidden_in", "hidden_out", "cost_ms", "std_error_ms"]
    assert len(frame) == len(table.entries)


def test_the_name_tells_the_setting_and_is_stable(table: LatencyTable) -> None:
    name = table.file_name()
    assert name.startswith("host-onnxruntime-int8-length32-batch1-threads1-embed-")
    assert name == make_table(seed=5, created="2027-01-01T00:00:00+00:00").file_name()
    assert name != make_table(threads=2).file_name()
    other_scale = make_table(quiet_ms=3.9000000000000004).file_name()
    assert other_scale != name
    assert other_scale.startswith(table.key.stem())


def test_any_changed_byte_is_found(table: LatencyTable, tmp_path: Path) -> None:
    path = table.save(tmp_path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [0, 10, 40, 70, *rng.integers(len(good), size=40), len(good) - 1]:
        bad = bytearray(good)
        bad[place] ^= 1
        path.write_bytes(bytes(bad))
        with pytest.raises(TableDamaged, match=r"is damaged: .* rm '.*' && nasc profile"):
            load_table(path)


@pytest.mark.parametrize("content", [b"", b"kind,cost\n", b"\xff\xfe\x00", b"# nasc latency table"])
def test_another_file_is_no_table(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "host-x.latency.csv"
    path.write_bytes(content)
    with pytest.raises(TableDamaged, match="is damaged"):
        load_table(path)


def test_a_cut_off_table_is_found(table: LatencyTable, tmp_path: Path) -> None:
    path = table.save(tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(TableDamaged, match="does not match its hash"):
        load_table(path)


def test_another_version_is_no_table_for_this_release(table: LatencyTable, tmp_path: Path) -> None:
    path = table.save(tmp_path)
    path.write_text(path.read_text().replace("version 4", "version 7", 1))
    with pytest.raises(TableMissing, match="has version 7, this nasc reads 4"):
        load_table(path)


def test_a_transferred_table_says_so_in_its_file_and_its_name(
    table: LatencyTable, tmp_path: Path
) -> None:
    origin = Transferred("device 'board'", "Made-up CPU", "0" * 16, "1.32.0", "2026-11-01", 20)
    made = dataclasses.replace(table, transferred=origin)
    path = made.save(tmp_path)
    assert path != table.save(tmp_path)
    assert "-transferred-" in path.name
    loaded = load_table(path)
    assert loaded.transferred == origin
    assert loaded.note == (
        f"latency table transferred, with {len(table.measured)} networks measured on synthetic, "
        "\u00e9 # 1: onnxruntime int8 from that of device 'board', Made-up CPU"
    )
    assert (loaded.foreign, table.note) == (None, None)
    imported = Imported("board", "9" * 16, "1.32.0", "2026-11-02")
    both = dataclasses.replace(made, imported=imported).note
    assert both is not None
    assert both.startswith("latency table imported from another machine: ")
    assert both.endswith("Made-up CPU")


@pytest.mark.parametrize("is_transferred", [True, False])
def test_a_transferred_table_has_a_version_that_older_releases_refuse(
    is_transferred: bool, table: LatencyTable, tmp_path: Path
) -> None:
    origin = Transferred("device 'board'", "Made-up CPU", "0" * 16, "1.32.0", "2026-11-01", 20)
    made = dataclasses.replace(table, transferred=origin if is_transferred else None)
    path, version = made.save(tmp_path), 5 if is_transferred else 4
    text = path.read_text()
    assert f"latency table, version {version}, " in text
    path.write_text(text.replace(f"version {version}", f"version {9 - version}", 1))
    with pytest.raises(TableDamaged, match="does not go with how it was made"):
        load_table(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TableMissing, match="Measure one: nasc profile"):
        load_table(tmp_path / "no.latency.csv")


def test_a_latency_is_the_sum_of_its_layers(table: LatencyTable) -> None:
    network = TINY.parse("16: M F | 32: S3 @ int8")
    names = [
        Layer("embedding", 32, 32),
        Layer("border", 32, 16),
        Layer("mha", 16, 16),
        Layer("ffn", 16, 16),
        Layer("border", 16, 32),
        Layer("sep3", 32, 32),
        Layer("head_embed", 32, 32),
    ]
    total = sum(table.cost_ms(layer) for layer in names)
    predicted = table.predict(network)
    assert predicted.latency_ms == pytest.approx(total)
    assert predicted.low_ms < total < predicted.high_ms


def test_a_layer_that_was_not_measured_is_a_miss(table: LatencyTable) -> None:
    with pytest.raises(LookupMiss, match=r"no cost of layer 'sep5 32'.*nasc profile --device host"):
        table.predict(Architecture((Block(32, ("sep5",)),), "int8"))
    with pytest.raises(LookupMiss, match="no cost of layer 'head_hidden 16->32'"):
        table.cost_ms(Layer("head_hidden", 16, 32))


def test_another_precision_is_a_miss(table: LatencyTable) -> None:
    with pytest.raises(LookupMiss, match=r"is fp32, the latency table for .* is int8"):
        table.predict(random_architecture(TINY, np.random.default_rng(0)))


def test_covers_smaller_spaces_only(table: LatencyTable) -> None:
    assert table.covers(TINY)
    assert table.covers(TINY.restrict(operations=("mha", "ffn"), hidden_sizes=(16,)))
    assert table.covers(dataclasses.replace(TINY, n_blocks=4, slots=5))
    assert not table.covers(TINY.restrict(hidden_sizes=(8, 16, 32)))
    assert not table.covers(PRESETS["minilm-l6"])


@pytest.mark.parametrize("cost", [-0.1, float("nan"), float("inf")])
def test_costs_of_nonsense_are_refused(table: LatencyTable, cost: float) -> None:
    entries = table.entries.copy()
    entries.loc[3, "cost_ms"] = cost
    with pytest.raises(UsageError, match=r"cost of .* ms"):
        dataclasses.replace(table, entries=entries)


def test_an_absent_or_doubled_entry_is_refused(table: LatencyTable) -> None:
    with pytest.raises(UsageError, match="no cost of embedding 32"):
        dataclasses.replace(table, entries=table.entries.iloc[1:])
    doubled = pd.concat([table.entries, table.entries.iloc[:1]])
    with pytest.raises(UsageError, match="two costs of embedding 32"):
        dataclasses.replace(table, entries=doubled)


def test_a_table_is_brought_to_another_scale_and_is_less_sure_there() -> None:
    table = make_table(quiet_ms=4.0)
    other = table.rescaled(5.0)
    assert other.quiet_ms == 5.0
    network = random_architecture(table.space, np.random.default_rng(0), table.key.precision)
    assert other.latency_ms(network) == pytest.approx(1.25 * table.latency_ms(network))
    assert other.bound_ratio == pytest.approx(table.bound_ratio)
    assert other.interval.half_width > table.interval.half_width
    assert table.rescaled(4.0) is table
    assert load_and_save(other).to_text() == other.to_text()
    with pytest.raises(UsageError, match=r"scale of 4 ms cannot .* one of 9 ms.*--force"):
        table.rescaled(9.0)


def load_and_save(table: LatencyTable) -> LatencyTable:
    with tempfile.TemporaryDirectory() as folder:
        return load_table(table.save(Path(folder)))
