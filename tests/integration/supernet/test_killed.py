"""kill -9 in the middle of a training: the same command goes on, and nothing shows it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import killed_worker
import pytest
from forked import forking
from supernet_toy import sentences

from nasc.supernet import checkpoint
from nasc.teacher import load_teacher

STEPS, KILLED_AFTER = 8, 6
SHRINK = {"bins": 2, "keep": 1, "sample": 2, "warm_epochs": 1, "epoch_steps": 2}


def run(asked: dict[str, Any], folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """Exit status of a process that trains, and what it reported."""
    told = folder / "told.jsonl"
    process = forking().Process(target=killed_worker.work, args=(asked, told))
    process.start()
    try:
        process.join(timeout=300)
    finally:
        process.kill()
    assert process.exitcode is not None
    return process.exitcode, [json.loads(line) for line in told.read_text().splitlines()]


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
    status, told = run(asked, tmp_path)
    assert status == -signal.SIGKILL
    assert {"step": KILLED_AFTER} in told
    (state,) = killed.glob("supernets/*/state.safetensors")
    saved = checkpoint.read(state).header
    assert saved["step"] == KILLED_AFTER - 1
    assert not (killed / "supernet.safetensors").exists()

    status, told = run(asked | {"folders": [str(killed), str(whole)], "kill_after": None}, tmp_path)
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
