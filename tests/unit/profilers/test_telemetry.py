"""What runtimes do beside running models."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import nasc

ROOT = Path(nasc.__file__).parents[1]


def written_by(module: str, home: Path, **variables: str) -> list[str]:
    """Files that importing a module leaves in an empty home folder."""
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(home)}
    # Where tests of continuous integration run, runtimes keep quiet by themselves: not so here.
    subprocess.run([sys.executable, "-c", f"import {module}"], env=kept | variables, check=True)
    return sorted(path.name for path in home.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "profilers.runtimes.onnxruntime",
        "nasc.evaluation.encoder",
        pytest.param(
            "profilers.runtimes.openvino",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("openvino") is None,
                reason="needs openvino (extra 'openvino')",
            ),
        ),
    ],
)
def test_importing_the_runtime_leaves_nothing_in_the_user_s_cache(
    module: str, tmp_path: Path
) -> None:
    assert written_by(module, tmp_path) == []
    assert written_by(module, tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")) == []
