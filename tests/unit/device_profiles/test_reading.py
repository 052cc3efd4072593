"""Files from outside: regular, bounded, of plain structure, or refused in words."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

import pytest

from device_profiles import reading
from device_profiles.reading import (
    FileRefused,
    FileTooLarge,
    opened,
    parse_json,
    read_bytes,
    read_json,
    read_text,
    read_toml,
)


def written(folder: Path, text: str | bytes, name: str = "file.json") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.timeout(20)
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileRefused, match=r"pipe' is no file but a pipe \(FIFO\)"):
        read_bytes(tmp_path / "pipe")


@pytest.mark.timeout(20)
def test_a_device_is_refused_also_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    for path in (Path("/dev/zero"), tmp_path / "link"):
        with pytest.raises(FileRefused, match="is no file but a device"):
            read_bytes(path)


def test_a_folder_and_a_socket_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="a folder"):
        read_text(tmp_path)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(tmp_path / "s"))
        with pytest.raises(FileRefused, match="a socket"):
            read_text(tmp_path / "s")


def test_a_sparse_file_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(FileRefused, match="holds 10,737,418,240 bytes, at most 1,000 are read"):
        read_bytes(tmp_path / "sparse", 1000)


def test_a_file_that_does_not_tell_its_size_is_bounded_too() -> None:
    with pytest.raises(FileRefused, match="holds more than the 3 bytes"):
        read_bytes("/proc/self/status", 3)


def test_a_link_to_a_file_is_read(tmp_path: Path) -> None:
    written(tmp_path, "[1]")
    (tmp_path / "link.json").symlink_to("file.json")
    assert read_json(tmp_path / "link.json") == [1]


def test_streams_are_of_any_size(tmp_path: Path) -> None:
    with opened(written(tmp_path, b"abc")) as file:
        assert file.read() == b"abc"


def test_a_missing_file_stays_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    assert read_json(written(tmp_path, b"\xef\xbb\xbf{}")) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not valid JSON"),
        ("NaN", "holds NaN"),
        ('{"a": [-Infinity]}', "holds -Infinity"),
        ("1e999", "holds 1e999, which is too large"),
        ("1" * 5000, "holds a number of 5,000 digits"),
        ("-" + "1" * 41, "holds a number of 42 digits"),
        ("[" * 100 + "]" * 100, "is nested more than 64 levels deep"),
        ("[" * 200_000 + "]" * 200_000, "is nested too deeply"),
        (b"\xff\xfe", "is not text in UTF-8"),
    ],
)
def test_json_that_is_refused(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(FileRefused, match=reason):
        read_json(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = ", "is not valid TOML"),
        ("a = nan", "holds nan"),
        ("a = inf", "holds inf"),
        ("a = " + "1" * 5000, "is not valid TOML|digits"),
        ("a = 0x" + "f" * 60, "more than 40 digits"),
        ("a = " + "[" * 100 + "]" * 100, "nested"),
        ("a = " + "[" * 30_000 + "]" * 30_000, "nested"),
        ("a." * 30_000 + "a = 1", "has a line with more than 500 dots"),
        ("\u0022\u2028\u0022." * 1000 + "a = 1", "has a line with more than 500 dots"),
        ("a = 1\n#" + "." * 70_000, "holds 70,007 bytes, at most 65,536 are read"),
    ],
)
@pytest.mark.timeout(20)
def test_toml_that_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(FileRefused, match=reason):
        read_toml(written(tmp_path, text))


SCHEMA = {
    "type": "object",
    "required": ["size"],
    "additionalProperties": False,
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "name": {"type": ["string", "null"]},
        "kind": {"enum": ["a", "b"]},
        "rows": {"type": "array", "items": {"type": "number"}},
        "code": {"type": "string", "pattern": "^[a-z]{1,3}$"},
    },
}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"size": "x"}', "has size = 'x'; it must be a whole number"),
        ('{"size": true}', "has size = True; it must be a whole number"),
        ('{"size": 0}', "has size = 0; it must be at least 1"),
        ('{"size": 10}', "has size = 10; it must be at most 9"),
        ('{"size": 1, "name": 2}', "has name = 2; it must be text or null"),
        ('{"size": 1, "kind": "c"}', "has kind = 'c'; allowed: 'a', 'b'"),
        ('{"size": 1, "rows": [1, "x"]}', r"has rows.1 = 'x'; it must be a number"),
        ('{"size": 1, "code": "abc4"}', "has code = 'abc4'"),
        ('{"size": 1, "code": "abc\\n"}', "has code = 'abc"),
        ("{}", "lacks 'size'"),
        ('{"size": 1, "more": 2}', "'more' was unexpected"),
        ("[]", "it must be an object"),
    ],
)
def test_a_schema_names_the_place(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(FileRefused, match=reason) as caught:
        read_json(written(tmp_path, text), schema=SCHEMA)
    assert "file.json" in str(caught.value)


def test_what_fits_its_schema_is_given(tmp_path: Path) -> None:
    text = '{"size": 3, "name": null, "rows": [1, 2.5]}'
    assert read_json(written(tmp_path, text), schema=SCHEMA)["rows"] == [1, 2.5]


def test_a_long_value_is_shown_short(tmp_path: Path) -> None:
    with pytest.raises(FileRefused) as caught:
        read_json(written(tmp_path, '{"size": "%s"}' % ("x" * 9999)), schema=SCHEMA)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [{}, {}, {}, {}]}',
        '[[0], [0], "a \\" b", [0], [0]]',
        b"[1, 2, 3, 4, 5, 6, 7, 8, 9]",
        '["a"' + ',"a"' * 9,
    ],
)
def test_json_of_many_items_is_refused_unparsed(
    text: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_ITEMS", 8)
    monkeypatch.setattr("json.loads", lambda *_, **__: pytest.fail("it is parsed"))
    with pytest.raises(
        FileTooLarge, match=r"'x\.json' holds more than 8 lists, objects and commas"
    ):
        parse_json(text, "x.json")


def test_what_is_in_strings_is_no_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_ITEMS", 3)
    data = {"a": 20 * ",[{\\", "b": [20 * '",']}
    assert parse_json(json.dumps(data), "x.json") == data
    assert parse_json(json.dumps(data).encode(), "x.json") == data
    with pytest.raises(FileRefused, match="is not valid JSON"):
        parse_json('["' + 20 * ",", "x.json")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", ['"\\', '\\"', '"', "\\", 'a"\\\\', ",", '",\\"['])
def test_items_are_counted_in_linear_time(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_ITEMS", 1000)
    with contextlib.suppress(FileRefused):
        reading.check_items("," * 990 + unit * 200_000 + "\\", "x.json")


@pytest.mark.slow
def test_a_vocabulary_of_a_quarter_million_pieces_is_read() -> None:
    pieces = ",".join(f'["p{i}",-{i}.5]' for i in range(250_000))
    assert len(parse_json(f"[{pieces}]", "tokenizer.json")) == 250_000
