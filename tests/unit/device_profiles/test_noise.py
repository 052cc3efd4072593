"""The noise of a device: its defaults, its table in a device file, and what is refused there."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from device_profiles import DeviceProfileError, Noise, find
from device_profiles.noise import MOST, NOISE_NAMES, UNSTATED

DEVICE = """
name = "board"
description = "a board"
detect = true
connection.kind = "local"
[defaults]
threads = 1
runtime = "onnxruntime"
"""


def board(folder: Path, last: str = "", first: str = "") -> Path:
    path = folder / "board.toml"
    path.write_text(first + DEVICE + last)
    return path


def test_devices_without_a_table_have_the_noise_of_servers() -> None:
    assert find("host").noise == find("pixel6").noise == Noise()
    assert Noise().to_dict() == {
        "process_spread": 0.01,
        "busy_spread": 0.04,
        "baseline_spread": 0.02,
        "shift": 0.01,
        "jitter_ms": 0.012,
        "peak_room": 0.03,
    }


def test_a_table_sets_some_or_all(tmp_path: Path) -> None:
    some = find(board(tmp_path, "[noise]\nprocess_spread = 0.002\njitter_ms = 0\n"))
    assert some.noise == Noise(process_spread=0.002, jitter_ms=0.0)
    every = {name: 0.01 * place for place, name in enumerate(NOISE_NAMES)}
    lines = "\n".join(f"{name} = {value!r}" for name, value in every.items())
    assert find(board(tmp_path, f"[noise]\n{lines}\n")).noise.to_dict() == every
    assert find(board(tmp_path, "[noise]\n")).noise == Noise()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("process_spread = -0.001", "noise.process_spread = -0.001; it must be a number from 0 to"),
        ("process_spread = 0.2501", "noise.process_spread = 0.2501; it must be a number from 0 to"),
        ("jitter_ms = 12", "noise.jitter_ms = 12; it must be a number from 0 to 0.9"),
        ("jitter_ms = nan", "holds nan, which is no number"),
        ("shift = inf", "holds inf, which is no number"),
        ("shift = -inf", "holds -inf, which is no number"),
        ("shift = true", "noise.shift = True; it must be a number"),
        ('shift = "0.01"', "noise.shift = '0.01'; it must be a number"),
        ("peak_room = [0.03]", r"noise.peak_room = \[0.03\]; it must be a number"),
        ("peak_room = {a = 1}", "noise.peak_room = .*; it must be a number"),
        (f"busy_spread = {'9' * 39}", "noise.busy_spread = 9{39}; it must be a number"),
        (f"busy_spread = {'9' * 400}", "more than 40 digits"),
        ("proces_spread = 0.01", "'noise.proces_spread'. Did you mean 'process_spread'. Allowed: "),
        (f"{'s' * 5000} = 0.01", r"unknown field 'noise\.s+\.\.\.\. Allowed: process_spread, busy"),
    ],
)
def test_what_is_no_noise_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DeviceProfileError, match=message):
        find(board(tmp_path, f"[noise]\n{text}\n"))


@pytest.mark.parametrize("text", ["noise = 0.01", 'noise = "none"', "noise = [0.01]"])
def test_the_noise_is_a_table(tmp_path: Path, text: str) -> None:
    with pytest.raises(DeviceProfileError, match=r"noise = .*; it must be a \[noise\] table"):
        find(board(tmp_path, first=text))


@pytest.mark.parametrize("value", [-1e-9, MOST + 1e-9, math.nan, math.inf, None, "1", True])
def test_no_such_noise_is_made(value: Any) -> None:
    for name in NOISE_NAMES:
        most = "0.9" if name == "jitter_ms" else "0.25"
        wrong = 0.9 + 1e-9 if value == MOST + 1e-9 else value
        message = f"^{name} = .*; it must be a number from 0 to {most}$"
        with pytest.raises(ValueError, match=message):
            Noise(**{name: wrong})


def test_plain_data_that_is_no_noise_is_refused() -> None:
    assert Noise.from_dict({}) == Noise()
    assert Noise.from_dict(Noise(shift=0.1).to_dict()) == Noise(shift=0.1)
    with pytest.raises(ValueError, match=r"'spread' is unknown\..* Allowed: process_spread, busy"):
        Noise.from_dict({"spread": 0.01})
    for wrong in ([], None, 0.01, "shift"):
        with pytest.raises(ValueError, match="it must be a table of process_spread, busy_spread"):
            Noise.from_dict(wrong)


def test_of_two_noises_the_larger_counts_for_each_constant() -> None:
    one, other = Noise(shift=0.1, jitter_ms=0.0), Noise(shift=0.0, peak_room=0.2)
    assert one.larger(other) == other.larger(one) == Noise(shift=0.1, peak_room=0.2)
    assert one.larger(one) == one
    assert one.smaller(other) == other.smaller(one) == Noise(shift=0.0, jitter_ms=0.0)


def test_files_that_state_none_keep_their_meaning_when_the_defaults_change() -> None:
    """Their bounds were computed with these: a change would make every package inconsistent."""
    assert UNSTATED.to_dict() == {
        "process_spread": 0.01,
        "busy_spread": 0.04,
        "baseline_spread": 0.02,
        "shift": 0.01,
        "jitter_ms": 0.012,
        "peak_room": 0.03,
    }
