"""Tables that lack or twist something under a hash that is right: one message each."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path

import pytest
from mutated import mutations
from synthetic_device import make_table

from nasc.errors import TableDamaged, TableError
from nasc.latency.table import load_table

MARK = "# measured networks:\n"


@pytest.fixture(scope="module")
def body() -> str:
    return make_table().to_text().split("\n", 1)[1]


def written(path: Path, body: str) -> Path:
    digest = hashlib.sha256(body.encode()).hexdigest()
    path.write_text(f"# nasc latency table, version 4, sha256 {digest}\n{body}", encoding="utf-8")
    return path


def with_head(body: str, head: object) -> str:
    return f"# {json.dumps(head)}\n{MARK}{body.split(MARK)[1]}"


def head_of(body: str) -> dict[str, object]:
    lines = body.split(MARK)[0].splitlines()
    return json.loads("".join(line[2:] for line in lines))  # type: ignore[no-any-return]


def test_no_twisted_head_is_a_traceback(body: str, tmp_path: Path) -> None:
    path, refused = tmp_path / "host-x.latency.csv", list[str]()
    for what, head in mutations(head_of(body), 80):
        written(path, with_head(body, head))
        try:
            load_table(path)
        except TableError as error:
            refused.append(str(error))
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
    assert len(refused) > 30
    assert max(map(len, refused)) < 1500
    assert "\x1b" not in "".join(refused)


def test_no_twisted_cell_is_a_traceback(body: str, tmp_path: Path) -> None:
    path, rng = tmp_path / "host-x.latency.csv", random.Random(0)
    refused = list[str]()
    words = [
        "",
        "=1+1",
        "nan",
        "-1",
        "inf",
        "1e999",
        "1_0",
        "\u0662",
        '"',
        "9" * 5000,
        "1,2",
        "0x1",
    ]
    for _ in range(60):
        lines = body.splitlines()
        row = rng.randrange(lines.index(MARK.strip()) + 1, len(lines))
        cells = lines[row].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(words)
        lines[row] = ",".join(cells)
        written(path, "\n".join(lines) + "\n")
        try:
            load_table(path)
        except TableError as error:
            refused.append(str(error))
        except Exception as error:
            raise AssertionError(f"{lines[row][:80]}: {error!r}") from error
    assert len(refused) > 30
    assert max(map(len, refused)) < 1500


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"runtime_base_bytes": "1"}, "has runtime_base_bytes = '1'; it must be a whole number"),
        ({"runtime_base_bytes": -1}, "has runtime_base_bytes = -1; it must be at least 0"),
        ({"held_out": "x"}, "has held_out = 'x'; it must be a list"),
        ({"times": {"emit_s": "1"}}, "has times.emit_s = '1'; it must be a number"),
    ],
)
def test_the_head_s_place_is_named(
    body: str, change: dict[str, object], reason: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "host-x.latency.csv", with_head(body, head_of(body) | change))
    with pytest.raises(TableDamaged, match=reason):
        load_table(path)


@pytest.mark.parametrize("text", ["=1+1", "nan", "-0.5", "1e300", "abc", "\u0663"])
def test_a_cell_s_line_and_column_are_named(body: str, text: str, tmp_path: Path) -> None:
    lines = body.splitlines()
    cells = lines[-1].split(",")
    lines[-1] = ",".join([*cells[:3], text, cells[4]])
    path = written(tmp_path / "host-x.latency.csv", "\n".join(lines) + "\n")
    number = len(path.read_text(encoding="utf-8").splitlines())
    with pytest.raises(TableDamaged, match=rf"line {number}, column 'cost_ms' holds"):
        load_table(path)


@pytest.mark.timeout(30)
def test_a_pipe_and_a_sparse_file_are_no_tables(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    for name in ("pipe", "sparse"):
        with pytest.raises(TableDamaged, match=r"a pipe|holds 10,737,418,240 bytes"):
            load_table(tmp_path / name)
