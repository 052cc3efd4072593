"""Tables from elsewhere that twist something under a hash that is right: refused with the line."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mutated import mutations
from shared_tables import (
    MARK,
    measurement_of,
    packed,
    sound_table,
    with_head,
    with_lines,
    written,
)

from nasc.errors import TableDamaged, TableError
from nasc.latency import shared_file
from nasc.latency.shared_file import read_shared
from nasc.latency.table import LatencyTable

Lines = Callable[[list[str]], object]
Head = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return sound_table()


@pytest.fixture(scope="module")
def text(table: LatencyTable) -> str:
    return table.to_text()


def refusal(path: Path) -> str:
    """What is said of a file that is refused."""
    with pytest.raises(
        TableDamaged, match=r"is refused: .*\. Ask for it again .*nasc profile"
    ) as e:
        read_shared(path)
    assert len(str(e.value)) < 1500
    assert "\x1b" not in str(e.value)
    return str(e.value)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        *(("busy", value, "true or false") for value in ("no", [], {}, 0)),
        ("converged", "yes", "true or false"),
        *(("rounds", value, "number") for value in ([1], "4", True)),
        ("busy_share", {}, "number"),
        ("drift_ratio", "1", "number"),
    ],
)
def test_what_a_context_tells_is_of_its_type(
    text: str, tmp_path: Path, name: str, value: Any, kind: str
) -> None:
    body = with_head(text, lambda head: head["context"].update({name: value}))
    told = refusal(written(tmp_path / "a.csv", body))
    assert f"its context has {name} = " in told
    assert f"which is no {kind}" in told


def test_a_sound_table_is_read_with_its_samples(table: LatencyTable, tmp_path: Path) -> None:
    samples = packed(measurement_of(table))
    path = tmp_path / "sound.latency.csv"
    path.write_text(table.to_text(samples), encoding="utf-8")
    found = read_shared(path)
    assert found.samples == samples
    assert found.table.to_text() == table.to_text()
    path.write_text(table.to_text(), encoding="utf-8")
    assert read_shared(path).samples is None


# Rows


def last(column: int, value: str) -> Lines:
    """The last cost with another value in a column."""

    def change(lines: list[str]) -> None:
        cells = lines[-1].split(",")
        cells[column] = value
        lines[-1] = ",".join(cells)

    return change


def network(column: int, value: str) -> Lines:
    """The first measured network with another value in a column."""

    def change(lines: list[str]) -> None:
        place = lines.index(MARK) + 2
        cells = lines[place].removeprefix("# ").split(",")
        cells[column] = value
        lines[place] = "# " + ",".join(cells)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        *((last(3, v), "column 'cost_ms' holds") for v in ("nan", "-0.5", "1e300", "inf", "1.2.3")),
        *((last(4, v), "column 'std_error_ms' holds") for v in ("nan", "-1", "", "=1+1")),
        *((last(1, v), "column 'hidden_in' holds") for v in ("0", "-16", "1.5", "9" * 5000)),
        *((last(0, v), "which is no name") for v in ("=1+1", "+1", "-1", "@SUM(A1)", "")),
        (last(0, "attention"), "a cost of 'attention 32', which no network of its search space"),
        (last(2, "64"), "which no network of its search space has"),
        (lambda lines: lines.append(lines[-1]), "holds a second cost of"),
        (last(4, "0.1,0.2"), "holds 6 values, not 5"),
        (lambda lines: lines.__setitem__(-1, "embedding,32"), "holds 2 values, not 5"),
    ],
)
def test_a_cost_that_is_none_is_refused_with_its_line(
    text: str, change: Lines, words: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "x.latency.csv", with_lines(text, change))
    number = len(path.read_text(encoding="utf-8").splitlines())
    said = refusal(path)
    assert f"line {number}" in said
    assert words in said


@pytest.mark.parametrize(
    ("change", "words"),
    [
        *((network(1, v), "column 'latency_ms' holds") for v in ("nan", "-0.5", "0", "0.0", "1e9")),
        (network(4, "0.0"), "column 'predicted_ms' holds 0"),
        (network(2, "1e6"), "lie between 1000000.0 and"),
        (network(4, "1e6"), "predicts 1000000.0 ms for"),
        (network(0, "=1+1"), "which is no name"),
        (network(0, "guessed"), "has role 'guessed'; known: teacher, designed, random"),
        (network(5, "@ int8"), "which is no name"),
        (network(5, "32: X @ int8"), "cannot read operation 'x'"),
        (network(5, "64: M @ int8"), "has no cost of layer"),
        (network(5, "32: M @ fp32"), "is fp32, the table is int8"),
        (network(5, '"32: M @ int8\x1b[31m"'), "which is no name"),
    ],
)
def test_a_network_that_is_none_is_refused_with_its_line(
    text: str, change: Lines, words: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "x.latency.csv", with_lines(text, change))
    number = path.read_text(encoding="utf-8").splitlines().index(MARK) + 3
    said = refusal(path)
    assert f"line {number}" in said
    assert words in said


def double_network(lines: list[str]) -> None:
    place = lines.index(MARK) + 2
    lines.insert(place, lines[place])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (double_network, r"line \d+ holds the network of line \d+ a second time"),
        (lambda lines: lines.pop(), "no cost of"),
        (lambda lines: lines.pop(lines.index(MARK) + 1), r"line \d+ names columns"),
        (lambda lines: lines.remove(MARK), "has no line '# measured networks:'"),
        (lambda lines: lines.__delitem__(slice(lines.index(MARK) + 2, None)), "it ends in the"),
    ],
)
def test_wrong_counts_of_rows_are_refused(
    text: str, change: Lines, words: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "x.latency.csv", with_lines(text, change))
    with pytest.raises(TableDamaged, match=words):
        read_shared(path)


def test_too_many_rows_are_refused_unread(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasc.latency.table_rows.MAX_ROWS", 5)
    path = written(tmp_path / "x.latency.csv", with_lines(text, lambda lines: None))
    assert "rows, at most 5 are read" in refusal(path)


# Head


def put(*place: str, value: Any) -> Head:
    """A head with another value in a place."""

    def change(head: dict[str, Any]) -> None:
        for name in place[:-1]:
            head = head[name]
        head[place[-1]] = value

    return change


ORIGIN = ("device", "fingerprint", "runtime_version", "imported_utc")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("key", "fingerprint", value="f" * 16), "its key has fingerprint = 'ffffffffffffffff'"),
        (put("key", "runtime_version", value="9"), "its measurement recorded '1'"),
        (put("key", "threads", value=8), "its key has threads = 8"),
        (put("key", "options", value="{}"), "its key has options = '{}'"),
        (put("key", "reference", value="0" * 16), "its key has reference = '0000000000000000'"),
        (put("key", "quiet_ms", value=1.0), "its key has quiet_ms = 1.0"),
        (put("key", "precision", value="fp32"), "is int8, the table is fp32"),
        (put("key", "runtime", value="../../x"), "its runtime '../../x' is unknown"),
        (put("key", "seq_len", value=129), "its length 129 is over the 128 tokens"),
        (put("key", "head", value="hidden"), "which no network of its search space has"),
        (put("space", "hidden_sizes", value=[8, 16, 32]), "no cost of"),
        (put("space", "hidden_sizes", value=[8, 16, 24, 32]), " more in space 'tiny'"),
        (put("space", "operations", value=["mha", "ffn"]), "which no network of its search space"),
        (put("streaming", value={"beyond_params": 0, "ms_per_param": 1.0}), "by its layers it is"),
        (put("created", value="9999-01-01T00:00:00+00:00"), "is yet to come"),
        (put("created", value="2026-11-03"), "created = '2026-11-03', no UTC time"),
        (put("created", value="yesterday"), "created = 'yesterday', no UTC time"),
        (put("held_out", value=[]), "0 errors of held-out networks"),
        (put("interval", "dof", value=1000), "1000 degrees of freedom of its interval"),
        (put("interval", "scale", value=0.0001), "its interval has scale 0.0001"),
        (put("context", value={}), "its context lacks the options"),
        (put("context", "options", value=[]), "its context lacks the options"),
        (
            put("context", "cpu", "model", value="=cmd()"),
            "context.cpu.model = '=cmd()', which a sp",
        ),
        (put("context", "=1+1", value=1), "a name in context = '=1+1', which a spreadsheet"),
        (put("context", "x", value=["a,=1+1"]), "context.x = 'a,=1+1', which a spreadsheet"),
        (put("space", "name", value="@SUM(A1)"), "space.name = '@SUM(A1)', which a spreadsheet"),
        (put("key", "device", value="a\x1b[31m"), "with control characters"),
        (put("runtime_base_bytes", value=-1), "has runtime_base_bytes = -1"),
        (put("imported", value={"device": "x"}), "at imported lacks"),
        (put("imported", value=dict.fromkeys(ORIGIN, "=1+1")), "imported.device = '=1+1', which"),
        (put("imported", value=dict.fromkeys(ORIGIN, "x")), "its key has fingerprint = 'x'"),
    ],
)
def test_a_head_that_lies_is_refused(text: str, change: Head, words: str, tmp_path: Path) -> None:
    path = written(tmp_path / "x.latency.csv", with_head(text, change))
    assert words in refusal(path)


def test_an_error_below_all_that_can_be_is_refused(table: LatencyTable, tmp_path: Path) -> None:
    worse = dataclasses.replace(table, held_out=(-2.0, *table.held_out[1:]))
    path = tmp_path / "x.latency.csv"
    path.write_text(worse.to_text(), encoding="utf-8")
    assert "has a held-out error of -2.0" in refusal(path)


def test_no_twisted_head_is_a_traceback(text: str, tmp_path: Path) -> None:
    path, refused = tmp_path / "x.latency.csv", list[str]()
    heads: list[dict[str, Any]] = []
    with_head(text, heads.append)
    for what, head in mutations(heads[0], 80):

        def change(old: dict[str, Any], new: dict[str, Any] = head) -> None:
            old.clear()
            old.update(new)

        written(path, with_head(text, change))
        try:
            read_shared(path)
        except TableError as error:
            refused.append(str(error))
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
    assert len(refused) > 50
    assert max(map(len, refused)) < 1500
    assert "\x1b" not in "".join(refused)


# Files


@pytest.mark.timeout(30)
def test_what_is_no_file_of_a_table_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.latency.csv"
    path.write_text(text.replace("embedding", "embeddinq"), encoding="utf-8")
    assert "its content does not match its hash" in refusal(path)
    path.write_text("kind,cost\n", encoding="utf-8")
    assert "its first line is not that of a latency table" in refusal(path)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(shared_file.MAX_BYTES + 1)
    assert "bytes, at most 16,777,216 are read" in refusal(path)
    path.unlink()
    os.mkfifo(path)
    assert "a pipe" in refusal(path)
    path.unlink()
    path.mkdir()
    assert "a folder" in refusal(path)


# Samples


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (lambda table: b"text", "its samples are no gzipped text"),
        (lambda table: packed(measurement_of(table))[:-20], "its samples end too early"),
        (lambda table: gzip.compress(b"{"), "is not valid JSON"),
        (lambda table: gzip.compress(b"\xff"), "its samples are no gzipped text"),
        (lambda table: gzip.compress(b"[NaN]"), "holds NaN"),
        (lambda table: gzip.compress(b'{"models": []}'), "its samples are no measurement"),
        (lambda table: packed(measurement_of(table, 1.1)), r"ms for '.*', its samples give"),
        (
            lambda table: packed(
                dataclasses.replace(measurement_of(table), context={"fingerprint": "other"})
            ),
            "its samples were taken with fingerprint = 'other'",
        ),
        (
            lambda table: packed(
                dataclasses.replace(measurement_of(table), models=measurement_of(table).models[1:])
            ),
            "its samples are of other networks",
        ),
    ],
)
def test_samples_that_are_not_the_table_s_are_refused(
    table: LatencyTable,
    samples: Callable[[LatencyTable], bytes],
    words: str,
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.latency.csv"
    path.write_text(table.to_text(samples(table)), encoding="utf-8")
    with pytest.raises(TableDamaged, match=words):
        read_shared(path)


def test_no_twisted_samples_are_a_traceback(table: LatencyTable, tmp_path: Path) -> None:
    path, refused = tmp_path / "x.latency.csv", 0
    whole = measurement_of(table).to_dict()
    for what, raw in mutations(whole, 10):
        path.write_text(table.to_text(gzip.compress(json.dumps(raw).encode())), encoding="utf-8")
        try:
            read_shared(path)
        except TableError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
    assert refused > 4


def test_samples_that_grow_without_end_are_refused(
    table: LatencyTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_file, "MAX_SAMPLES_BYTES", 1000)
    path = tmp_path / "x.latency.csv"
    path.write_text(table.to_text(gzip.compress(b" " * 100_000)), encoding="utf-8")
    assert "its samples hold more than 1,000 bytes" in refusal(path)


def test_samples_that_are_no_base64_are_refused(text: str, tmp_path: Path) -> None:
    path = written(tmp_path / "x.latency.csv", with_head(text, put("samples", value="*")))
    assert "the samples in its head are no base64" in refusal(path)
