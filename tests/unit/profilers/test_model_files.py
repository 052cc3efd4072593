"""Files of models, by how their names end."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasc.package.formats import SHIPPED, format_of
from profilers.model_files import KINDS, ONNX, FileKind, is_code, kind_of, model_files, runtime_for
from profilers.runtimes import NAMES


def test_what_is_said_of_an_ending_is_what_packages_hold() -> None:
    by_runtime = {kind.runtime: kind for kind in KINDS if kind.runtime is not None}
    assert by_runtime.keys() <= set(NAMES)
    for runtime in SHIPPED:
        form, kind = format_of(runtime), by_runtime.get(runtime, ONNX)
        model = Path(form.MODEL)
        assert kind_of(model) is kind
        assert (
            (model.with_suffix(kind.companion).name,) if kind.companion else ()
        ) == form.COMPANIONS
        assert (form.CODE == form.MODEL) == kind.is_code


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.ending)
def test_a_model_file_is_known_by_its_ending(tmp_path: Path, kind: FileKind) -> None:
    path = tmp_path / f"a model{kind.ending.upper()}"
    assert kind_of(path) is kind
    assert is_code(path) == kind.is_code
    assert runtime_for([tmp_path / "b.onnx", path], "default") == (kind.runtime or "default")
    path.touch()
    assert model_files(path) == (path,)
    companion = path.with_suffix(kind.companion or ".json")
    companion.touch()
    assert model_files(path) == ((path, companion) if kind.companion else (path,))
    advice = kind.advice_on(path)
    assert str(kind.runtime or "onnx") in advice
    assert (companion.name in advice) == bool(kind.companion)


def test_other_endings_are_taken_for_onnx() -> None:
    assert kind_of(Path("model")) is kind_of(Path("model.bin")) is ONNX
