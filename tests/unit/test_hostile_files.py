"""Spaces, devices, numbers and errors of the system: one message each, never a traceback."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from mutated import mutations

import device_profiles
from nasc.architecture.space import MAX_BLOCKS, MINILM_L6, PRESETS, load_space, space_to_dict
from nasc.cli import main
from nasc.cli.group import describe_os_error
from nasc.errors import NascError, UsageError
from nasc.utils.files import cache_folder, changed_file, drop_changed, record_files

DEVICE: dict[str, Any] = {
    "name": "board",
    "description": "a board",
    "connection": {"kind": "command", "command": ["sh", "-c", "true"]},
    "clusters": [{"core": "A76", "count": 2, "ids": [0, 1]}],
    "defaults": {"threads": 2, "runtime": "onnxruntime", "cores": [0, 1]},
}


def toml(value: Any) -> str:
    """Plain data as a value of TOML; null, which it has not, as text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps("null" if value is None else value)


def written(path: Path, data: dict[str, Any]) -> Path:
    text = "".join(f"{json.dumps(k)} = {toml(v)}\n" for k, v in data.items())
    path.write_text(text, encoding="utf-8")
    return path


def test_no_twisted_space_is_a_traceback(tmp_path: Path) -> None:
    whole = json.loads(json.dumps(space_to_dict(PRESETS["minilm-l6"])))
    path, refused = tmp_path / "mine.toml", list[str]()
    for what, data in mutations(whole, 80):
        try:
            found = load_space(str(written(path, data)))
            assert found.count_blocks() <= MAX_BLOCKS, what
        except UsageError as error:
            refused.append(str(error))
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
    assert len(refused) > 30
    assert max(map(len, refused)) < 1500
    assert "\x1b" not in "".join(refused)


def test_no_twisted_device_is_a_traceback(tmp_path: Path) -> None:
    path, refused = tmp_path / "board.toml", list[str]()
    for what, data in mutations(DEVICE, 80):
        try:
            device_profiles.load(written(path, data))
        except device_profiles.DeviceProfileError as error:
            refused.append(str(error))
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
    assert len(refused) > 30
    assert max(map(len, refused)) < 1500
    assert "\x1b" not in "".join(refused)


@pytest.mark.parametrize(
    "arguments",
    [
        *(["search", "--latency-ms", text] for text in ("nan", "inf", "-1", "0", "1e400", "1_0")),
        *(["search", "--size-bytes", text] for text in ("nan", "1e400", "-5MB", "20XB", "٢MB")),
        *(["search", "--params", text] for text in ("1e\u0667", "5\u212a", "5\u3000M", "\uff15M")),
        *(["search", "--seq-len", text] for text in ("\u0661\u0662", "1_000", "9" * 5000, "1.5")),
        *(["search", "--seed", text] for text in ("-1", "9" * 5000, "\u0661", "4294967296")),
        *(["train", "--minutes", text] for text in ("nan", "inf", "1_0", "\u0661")),
        *(["bench", "m", "--dim", f"a={text}"] for text in ("\u0661", "9" * 5000, "0")),
    ],
    ids=lambda a: " ".join(a)[:40],
)
def test_numbers_are_plain_and_finite(arguments: list[str]) -> None:
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 2, found.output
    assert "Error: " in found.output
    assert len(found.output) < 600


def test_usual_numbers_are_taken() -> None:
    seen: list[Any] = []
    command = click.Command(
        "try",
        params=[click.Option(["--x"], type=float), click.Option(["--n"], type=int)],
        callback=lambda x, n: seen.append((x, n)),
    )
    group = type(main)("group")
    group.add_command(command)
    for x, n in (("1e-3", "-4"), (".5", "+7"), ("20", "0")):
        assert CliRunner().invoke(group, ["try", "--x", x, "--n", n]).exit_code == 0
    assert seen == [(1e-3, -4), (0.5, 7), (20.0, 0)]


@pytest.mark.parametrize(
    ("error", "words", "never"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "x.bin"), "'x.bin' cannot be", "permis"),
        (OSError(errno.ENOSPC, "No space left on device"), "--cache DIR", "permission"),
        (OSError(errno.EACCES, "Permission denied", "x"), "Mend the permission", "Free some"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n", "permission"),
        (OSError(errno.ENOENT, "No such file or directory", "y"), "directory: 'y'", "is kept"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "y" * 300), "Name another", "is kept"),
        (OSError(errno.ECONNREFUSED, "Connection refused"), "Connection refused", "permission"),
    ],
)
def test_errors_of_the_system_say_their_own_cause(error: OSError, words: str, never: str) -> None:
    said = describe_os_error(error)
    assert words in said
    assert never not in said


def test_a_cache_that_is_not_utf_8_is_found_first(tmp_path: Path) -> None:
    with pytest.raises(NascError, match=r"is not UTF-8 .*--cache DIR"):
        cache_folder(tmp_path / "caf\udce9")
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_not_utf_8_is_found_before_training() -> None:
    found = CliRunner().invoke(main, ["train", "--output", "caf\udce9.safetensors"])
    assert found.exit_code == 2
    assert "is not UTF-8 (byte 0xe9)" in found.output
    assert "--output FILE" in found.output


def folder_of(path: Path) -> Path:
    path.mkdir()
    (path / "model.safetensors").write_bytes(bytes(range(256)))
    (path / "config.json").write_text("{}")
    return path


def test_one_flipped_bit_in_a_folder_of_the_cache_is_made_anew(tmp_path: Path) -> None:
    folder, said = folder_of(tmp_path / "model"), []
    record_files(folder)
    drop_changed(folder, said.append)
    assert (folder.is_dir(), said) == (True, [])
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[100] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(content))
    drop_changed(folder, said.append)
    assert not folder.exists()
    assert "damaged (model.safetensors is not as it was written): made anew" in said[0]


def test_a_folder_of_before_gets_its_record(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model")
    assert changed_file(folder) is None
    (folder / "config.json").write_text("{ }")
    assert changed_file(folder) == "config.json"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"../x": "0"}', '{"config.json": 1}'])
def test_a_damaged_record_counts_as_a_change(text: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model")
    (folder / "files.json").write_text(text)
    assert changed_file(folder) is not None


def test_a_geometry_is_told_in_words() -> None:
    assert str(MINILM_L6).startswith("6 layers, hidden size 384, heads of 32")
