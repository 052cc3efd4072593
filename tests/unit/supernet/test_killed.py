"""kill -9 in the middle of a training: the same command goes on, and nothing shows it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from supernet_toy import sentences

from nasc.supernet import checkpoint
from nasc.teacher import load_teacher

WORKER = Path(__file__).with_name("killed_worker.py")
STEPS, KILLED_AFTER = 8, 6
SHRINK = {"bins": 2, "keep": 1, "sample": 2, "warm_epochs": 1, "epoch_steps": 2}


def run(asked: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """Exit status of a process that trains, and what it reported."""
    paths = [str(WORKER.parent), os.getcwd(), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(WORKER), json.dumps(asked)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def asked(tmp_path: Path, teacher_folder: Callable[..., Path]) -> dict[str, Any]:
    """A training without the folders that it goes to."""
    folder = teacher_folder(layers=4)
    g = load_teacher(folder).geometry
    space, text = tmp_path / "toy.toml", tmp_path / "text.txt"
    space.write_text(
        'n_blocks = 2\nslots = 2\nhidden_sizes = [8, 16]\noperations = ["mha", "ffn"]\n'
        f'precisions = ["fp32"]\n[geometry]\nlayers = {g.layers}\nhidden = {g.hidden}\n'
        f"head_size = {g.head_size}\nintermediate = {g.intermediate}\n"
        f"vocab_size = {g.vocab_size}\nmax_positions = {g.max_positions}\n",
        encoding="utf-8",
    )
    text.write_text("\n\n".join(sentences(80)), encoding="utf-8")
    return {"teacher": str(folder), "space": str(space), "corpus": str(text), "steps": STEPS}


@pytest.mark.slow
@pytest.mark.parametrize("shrink", [None, SHRINK], ids=["whole", "shrunk"])
def test_a_killed_training_ends_as_if_nothing_had_happened(
    asked: dict[str, Any], tmp_path: Path, shrink: dict[str, int] | None
) -> None:
    """Weights, losses and what shrinking left: the files are equal to the last byte."""
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    asked |= {"shrink": shrink, "folders": [str(killed)], "kill_after": KILLED_AFTER}
    status, told = run(asked)
    assert status == -signal.SIGKILL
    assert {"step": KILLED_AFTER} in told
    (state,) = killed.glob("supernets/*/state.safetensors")
    saved = checkpoint.read(state).header
    assert saved["step"] == KILLED_AFTER - 1
    assert not (killed / "supernet.safetensors").exists()

    status, told = run(asked | {"folders": [str(killed), str(whole)], "kill_after": None})
    assert status == 0
    steps = [line["step"] for line in told if "step" in line]
    assert steps == [*range(KILLED_AFTER, STEPS + 1), *range(1, STEPS + 1)]
    first, second = (folder / "supernet.safetensors" for folder in (killed, whole))
    assert first.read_bytes() == second.read_bytes()
    assert not state.exists()
    header = checkpoint.read_header(first)
    assert len(header["history"]) == STEPS
    if shrink is not None:
        assert saved["also"]["rounds"] == 1
        assert {row["round"] for row in header["shrinking"]["history"]} == {1, 2}
        assert header["config"]["sampling"] == "uniform"
        notes = [line["said"] for line in told if "did not reach its end" in line.get("said", "")]
        assert len(notes) == 2
