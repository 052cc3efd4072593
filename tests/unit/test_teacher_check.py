import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasc.compiler import teacher_check
from nasc.compiler.teacher_check import check_teacher
from nasc.errors import UnsupportedFamily
from nasc.space import Architecture, Block
from nasc.teacher import Teacher, load_teacher


class Said:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def stage(self, title: str) -> Callable[..., None]:
        return lambda done, total, message="": None


@pytest.fixture
def folder(teacher_folder: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(teacher_folder("bert"), tmp_path / "own"))


@pytest.fixture(autouse=True)
def transformers_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are saved; the gate itself is tested with both libraries elsewhere."""
    monkeypatch.setattr("nasc.teacher.library.is_installed", lambda: False)


def bench_of(teacher: Teacher, cache: Path) -> Any:
    g = teacher.geometry
    kept = (Block(g.hidden, ("mha", "ffn"), kept=True),) * g.layers
    return SimpleNamespace(
        teacher=teacher,
        cache=cache,
        whole_space=SimpleNamespace(teacher=Architecture(kept)),
        reporter=Said(),
        timed=lambda stage: contextlib.nullcontext(),
    )


def test_the_full_size_graph_is_compared_once_for_the_same_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(load_teacher(folder), tmp_path)
    found = check_teacher(bench)
    assert found is not None
    assert found.max_abs < 1e-5
    assert found.scaled
    (line,) = bench.reporter.lines
    assert "the full-size network gives the vectors of transformers" in line
    assert "once those are scaled to length 1" in line

    compared: list[object] = []

    def compare(teacher: object, *rest: object) -> object:
        compared.append(teacher)
        return dataclasses.replace(found, texts=1)

    monkeypatch.setattr(teacher_check, "check_against_library", compare)
    assert check_teacher(bench) == found
    assert not compared
    (folder / "modules.json.bak.json").write_text("{}")  # a setting that nobody has seen yet
    assert check_teacher(bench) != found
    assert len(compared) == 1


def test_a_damaged_record_is_made_anew(folder: Path, tmp_path: Path) -> None:
    bench = bench_of(load_teacher(folder), tmp_path)
    found = check_teacher(bench)
    (record,) = (tmp_path / "teacher-checks").iterdir()
    record.write_text("[")
    assert check_teacher(bench) == found
    assert json.loads(record.read_text()) == dataclasses.asdict(found)  # type: ignore[call-overload]


def test_another_graph_is_refused(folder: Path, tmp_path: Path) -> None:
    teacher = load_teacher(folder)
    layer = dataclasses.replace(teacher.layers[0], ff2_w=teacher.layers[0].ff2_w.flip(0))
    other = dataclasses.replace(teacher, layers=(layer, *teacher.layers[1:]))
    with pytest.raises(UnsupportedFamily, match=r"teacher 'own': its vectors differ .* by up to"):
        check_teacher(bench_of(other, tmp_path))
    assert not (tmp_path / "teacher-checks").exists()


def test_a_teacher_without_a_folder_has_no_library(folder: Path, tmp_path: Path) -> None:
    teacher = dataclasses.replace(load_teacher(folder), folder=None)
    assert check_teacher(bench_of(teacher, tmp_path)) is None
