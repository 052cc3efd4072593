"""Supernets on disk: whole again after loading, refused where damaged or not the teacher's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from supernet_toy import random_supernet, state

from nasc.errors import CheckpointError
from nasc.supernet import checkpoint
from nasc.supernet.checkpoint import load_supernet, read_supernet_header, save_supernet
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher, load_teacher


@pytest.fixture
def supernet(teacher: Teacher) -> Supernet:
    found = random_supernet(teacher)
    found.blocks[1].from_end = True
    return found


def test_a_supernet_survives_the_file(supernet: Supernet, teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "supernet.safetensors"
    save_supernet(path, supernet, {"history": [0.1, 1 / 3]})
    found, header = load_supernet(path, teacher)
    assert found.space == supernet.space
    assert [block.from_end for block in found.blocks] == [False, True]
    saved = state(supernet)
    assert all(torch.equal(value, saved[name]) for name, value in state(found).items())
    assert header["history"] == [0.1, 1 / 3]
    assert header["teacher"] == {"name": teacher.name, "sha256": teacher.sha256}
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_another_teacher_s_supernet_is_refused(
    supernet: Supernet, tmp_path: Path, teacher_folder: Callable[..., Path]
) -> None:
    path = tmp_path / "s.safetensors"
    save_supernet(path, supernet, {})
    other = load_teacher(teacher_folder("distilbert", layers=4))
    with pytest.raises(CheckpointError, match=r"was trained from .*, not from .*nasc train"):
        load_supernet(path, other)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:100],
        lambda whole: whole[:-1000],
        lambda whole: b"\x00" * 64,
        lambda whole: b"not a checkpoint at all, but long enough to look at its first bytes",
    ],
    ids=["empty", "head cut", "end cut", "zeros", "text"],
)
def test_a_damaged_file_is_a_message(
    supernet: Supernet, teacher: Teacher, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "s.safetensors"
    save_supernet(path, supernet, {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        CheckpointError, match=r"s\.safetensors is damaged or not one of nasc"
    ) as found:
        load_supernet(path, teacher)
    assert ("(rm " in str(found.value)) == (b'"nasc":' in path.read_bytes()[:200])


def test_a_missing_file_is_a_message(teacher: Teacher, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint .*s\.safetensors\. Train one: nasc"):
        load_supernet(tmp_path / "s.safetensors", teacher)


def test_a_file_of_the_user_s_is_not_to_be_deleted(tmp_path: Path) -> None:
    path = tmp_path / "thesis.pdf"
    path.write_bytes(b"%PDF-1.5 ten years of work")
    with pytest.raises(CheckpointError, match=r"Name a supernet that nasc train") as found:
        read_supernet_header(path)
    assert f"rm '{path}'" not in str(found.value)


def test_a_name_that_is_too_long_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read checkpoint \S+: File name too long"):
        read_supernet_header(tmp_path / ("x" * 300))


def test_safetensors_of_others_are_a_message(teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="is damaged or not one of nasc"):
        load_supernet(path, teacher)
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, {"nasc": json.dumps({"format": 99})})
    with pytest.raises(CheckpointError, match=r"has format 99, this version reads 1"):
        load_supernet(path, teacher)


def test_another_kind_of_checkpoint_is_a_message(teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    checkpoint.write(path, {"a": torch.zeros(2)}, {"step": 3})
    with pytest.raises(CheckpointError, match=r"state\.safetensors is no supernet"):
        load_supernet(path, teacher)


def test_tensors_that_do_not_fit_the_space_are_a_message(
    supernet: Supernet, teacher: Teacher, tmp_path: Path
) -> None:
    path = tmp_path / "s.safetensors"
    save_supernet(path, supernet, {})
    found = checkpoint.read(path)
    few = {name: value for name, value in found.tensors.items() if "maps_in" not in name}
    checkpoint.write(path, few, found.header)
    with pytest.raises(CheckpointError, match="does not fit its own search space"):
        load_supernet(path, teacher)
    checkpoint.write(path, found.tensors, dict(found.header) | {"from_end": [True]})
    with pytest.raises(CheckpointError, match="does not fit its own search space"):
        load_supernet(path, teacher)


def test_a_full_disk_leaves_the_last_checkpoint(
    supernet: Supernet, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.safetensors"
    save_supernet(path, supernet, {"step": 1})

    def full(tensors: object, filename: Path, metadata: object) -> None:
        Path(filename).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*No space left.*untouched"):
        save_supernet(path, supernet, {"step": 2})
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert load_supernet(path, teacher)[1]["step"] == 1


def test_a_folder_that_cannot_be_made_is_a_message(supernet: Supernet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write checkpoint"):
        save_supernet(tmp_path / "file" / "s.safetensors", supernet, {})


def test_the_same_supernet_is_the_same_file(supernet: Supernet, tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.safetensors" for i in range(8)]
    for path in paths:
        save_supernet(path, supernet, {"history": [0.1]})
    assert len({path.read_bytes() for path in paths}) == 1


def test_a_checksum_beside_the_header_is_read(tmp_path: Path) -> None:
    """As files were written for two days in November 2026."""
    path, text = tmp_path / "s.safetensors", json.dumps({"format": checkpoint.FORMAT})
    tensors = {"a": torch.ones(2)}
    beside = {"nasc": text, "sha256": checkpoint._digest(text, tensors)}
    safetensors.torch.save_file(tensors, path, beside)
    assert checkpoint.read(path).header == {"format": checkpoint.FORMAT}
    safetensors.torch.save_file({"a": torch.zeros(2)}, path, beside)
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        checkpoint.read(path)
