"""Supernets whose header lacks or twists something, or whose weights changed: one message each."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from mutated import mutations
from supernet_toy import random_supernet

from nasc.errors import NascError, UsageError
from nasc.supernet import checkpoint
from nasc.supernet.checkpoint import (
    left_blocks,
    load_supernet,
    read_supernet_header,
    save_supernet,
    shrinking_of,
    trained_by,
)
from nasc.supernet.parallel import Parallel
from nasc.supernet.prepare import stored_scores
from nasc.supernet.shrink import empty_bins
from nasc.teacher import Teacher

ROW = {"block": "8: M", "bin": 0, "params": 10, "latency_ms": None, "dev_loss": 0.5}
ROUND = {"position": 0, "bin": 0, "round": 1, "before": 9, "sampled": 9, "after": 1}
LOSSES = {"median_loss": 0.5, "least_loss": 0.4, "largest_loss": 0.6}


def whole_header(teacher: Teacher, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    supernet = random_supernet(teacher, slots=2, hidden_sizes=(8, 32), operations=("mha", "ffn"))
    scores = {
        "format": 1,
        "space": json.loads(json.dumps(checkpoint.space_to_dict(supernet.space))),
        "positions": [{"8: M": 0.5}, {"8: M": 0.5}],
        "sensitivity": [1.0, 1.0],
        "precision_loss": {"fp32": 0.0, "int8": 0.1},
        "sentences": 9,
    }
    record = {
        "config": {"steps": 3},
        "text": {"description": "words", "sha256": "0"},
        "history": [0.5],
        "shrinking": {"left": [[ROW], [ROW]], "history": [ROUND | LOSSES], "config": {"bins": 1}},
        "scores": scores,
    }
    save_supernet(path, supernet, record)
    found = checkpoint.read(path)
    return dict(found.tensors), json.loads(json.dumps(dict(found.header)))


@pytest.mark.slow
def test_no_twisted_header_is_a_traceback(teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    tensors, header = whole_header(teacher, path)
    refused = list[str]()
    for what, changed in mutations(header, 80):
        safetensors.torch.save_file(tensors, path, {"nasc": json.dumps(changed)})
        try:
            found = load_supernet(path, teacher)[1]
            trained_by(found)
            record = shrinking_of(found)
            if record is not None:
                empty_bins(record)
            left_blocks(checkpoint.read_space(path, teacher), found)
            stored_scores(path, found)
        except NascError as error:
            refused.append(str(error))
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
    assert len(refused) > 40
    assert max(map(len, refused)) < 1500
    assert "\x1b" not in "".join(refused)


def test_a_space_that_does_not_fit_the_file_allocates_nothing(
    teacher: Teacher, tmp_path: Path
) -> None:
    path = tmp_path / "s.safetensors"
    tensors, header = whole_header(teacher, path)
    changed = header | {"space": dict(header["space"]) | {"slots": 10}}  # type: ignore[call-overload]
    checkpoint.write(path, tensors, changed)
    with pytest.raises(NascError, match="does not fit its own search space"):
        load_supernet(path, teacher)


def test_one_flipped_bit_of_the_weights_is_found(teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    save_supernet(path, random_supernet(teacher), {})
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(NascError, match=r"does not match its checksum.*rm '"):
        load_supernet(path, teacher)


def test_weights_that_are_no_numbers_are_refused(teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    supernet = random_supernet(teacher)
    with torch.no_grad():
        next(iter(supernet.blocks.parameters()))[0] = float("nan")
    save_supernet(path, supernet, {})
    with pytest.raises(NascError, match="does not hold finite float32 numbers"):
        load_supernet(path, teacher)


def test_a_file_of_before_has_no_checksum_and_is_read(teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    tensors, header = whole_header(teacher, path)
    safetensors.torch.save_file(tensors, path, {"nasc": json.dumps(header)})
    assert load_supernet(path, teacher)[1]["history"] == [0.5]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["pipe", "device", "huge header", "deep"])
def test_what_is_no_supernet_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge header":
        path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    else:
        text = '{"a": ' + "[" * 5000 + "]" * 5000 + "}"
        safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"nasc": text})
    with pytest.raises(NascError, match="is damaged or not one of nasc"):
        read_supernet_header(path)


@pytest.mark.parametrize("text", ["abc", "", "-1", "1_0", "\u0662", "9" * 5000])
def test_variables_of_torchrun_that_are_no_numbers_are_a_message(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", text)
    with pytest.raises(UsageError, match=r"WORLD_SIZE is .*not a whole number.*unset WORLD_SIZE"):
        Parallel.from_environment()
