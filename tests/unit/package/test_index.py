"""The index of several devices' packages: what it says, and what it may not say."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from nasc.errors import PackageError
from nasc.package.index import INDEX, IndexEntry, is_index, read_index, write_index

ONE = IndexEntry(
    "pixel6",
    "pixel6",
    "onnxruntime",
    "keep | keep",
    {"latency_ms": 20.0},
    12.5,
    13.1,
    22_000_000,
    "0" * 64,
    None,
)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_index(tmp_path, [ONE])
    assert read_index(tmp_path) == (ONE,)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"folder": "../elsewhere"}, "variants/0/folder"),
        ({"folder": "/etc"}, "variants/0/folder"),
        ({"folder": ".hidden"}, "variants/0/folder"),
        ({"folder": "pixel6\n"}, "variants/0/folder"),
        ({"latency_ms": -1}, "variants/0/latency_ms"),
        ({"latency_ms": "fast"}, "variants/0/latency_ms"),
        ({"manifest_sha256": "f" * 63}, "variants/0/manifest_sha256"),
        ({"more": 1}, "variants/0"),
    ],
)
def test_what_no_index_says_is_refused(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    write_index(tmp_path, [ONE])
    plain = json.loads((tmp_path / INDEX).read_text())
    plain["variants"][0] |= changed
    (tmp_path / INDEX).write_text(json.dumps(plain))
    with pytest.raises(PackageError, match=f"no index of packages: {message}"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "no index of packages"),
        (
            '{"format": "nasc-devices", "schema_version": 2, "variants": []}',
            "schema_version|variants",
        ),
        (" " * (1 << 20) + "{}", "cannot be read"),
    ],
)
def test_what_is_no_index_is_one_message(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / INDEX).write_text(text)
    with pytest.raises(PackageError, match=message):
        read_index(tmp_path)


def test_a_folder_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    write_index(tmp_path, [ONE, ONE])
    with pytest.raises(PackageError, match="names a package twice"):
        read_index(tmp_path)
    write_index(tmp_path, [ONE, dataclasses.replace(ONE, folder="other")])
    with pytest.raises(PackageError, match="names a package twice"):
        read_index(tmp_path)


def test_a_package_with_an_index_in_it_is_a_package(tmp_path: Path) -> None:
    """Else what is verified is another one, somewhere in it."""
    write_index(tmp_path, [ONE])
    assert is_index(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    assert not is_index(tmp_path)
