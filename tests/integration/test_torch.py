"""From a tiny teacher to a package for torch that verifies, by the command line; and on a GPU."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from nasc.cli import main
from nasc.latency.table import load_table
from nasc.latency.table_paths import table_files
from nasc.package.formats import torch_folder
from nasc.package.golden import Golden
from nasc.package.read_manifest import read_manifest
from profilers import DeviceUnreachable
from profilers.nvidia import find_gpu

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
]


def why_no_gpu() -> str:
    """Why tests that compute on a GPU are skipped; empty where there is one for torch."""
    import torch

    try:
        find_gpu()
    except DeviceUnreachable as error:
        return error.reason
    return "" if torch.cuda.is_available() else f"torch {torch.__version__} computes on no GPU"


HERE = pytest.param(
    "host",
    marks=pytest.mark.skipif(
        os.environ.get("NASC_TEST_TORCH") != "1",
        reason="torch compiles a table's networks for minutes (NASC_TEST_TORCH=1)",
    ),
)
ON_GPU = pytest.param(
    "cuda",
    marks=[pytest.mark.cuda, pytest.mark.skipif(bool(why_no_gpu()), reason=why_no_gpu())],
)


def nasc(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture(scope="module", params=[HERE, ON_GPU])
def package(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    write_inputs: Callable[..., Path],
) -> Any:
    """A package, and the cache with the table that it was chosen by."""
    folder = tmp_path_factory.mktemp("work")
    teacher = write_inputs(folder)
    done = nasc(
        *("compile", "--device", request.param, "--runtime", "torch", "--precision", "fp32"),
        *("--latency-ms", 1000, "--train-steps", 3, "--distill-steps", 3, "--seq-len", 12),
        *("--teacher", teacher, "--space", folder / "toy.toml", "--corpus", folder / "text.txt"),
        *("--cache", folder / "cache", "--output", folder / "package", "--json"),
    )
    assert done.exit_code == 0, done.stderr
    return folder / "package", folder / "cache", request.param


def test_compile_ships_a_package_that_verifies_where_its_code_may_run(package: Any) -> None:
    folder, cache, device = package
    manifest = read_manifest(folder)
    assert (manifest.conditions.runtime, manifest.conditions.device) == ("torch", device)
    about = json.loads((folder / "model.json").read_text())
    assert about["accelerator"] == ("cuda" if device == "cuda" else "cpu")
    done = nasc("verify", folder, "--no-measure")
    assert done.exit_code == 3
    assert "not checked  golden vectors: model.pt2 is code" in done.stdout
    done = nasc("verify", folder, "--no-measure", "--run-code")
    assert done.exit_code == 0, done.output
    done = nasc("verify", folder, "--run-code", "--cache", cache)
    assert done.exit_code in (0, 3), done.output  # 3: the machine is busy
    assert "ok           golden vectors" in done.stdout


def test_the_table_is_of_what_computed(package: Any) -> None:
    _, cache, device = package
    (table,) = (load_table(path) for path in table_files(cache / "tables"))
    assert table.key.runtime == "torch"
    assert table.key.accelerator == ("cuda" if device == "cuda" else "cpu")
    if device == "cuda":
        assert table.context["accelerator"]["driver"]
        assert table.context["telemetry"]["clock_khz"] > 0


def test_the_lines_of_its_readme_give_its_vectors(package: Any, tmp_path: Path) -> None:
    folder, _, _ = package
    text = (folder / "README.md").read_text(encoding="utf-8")
    lines = next(
        block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "pt2" in block
    )
    golden = Golden.read(folder / "golden.json").texts[0]
    lines += f"""
import numpy as np
ids = np.array([{golden.input_ids}])
mask = np.ones_like(ids)
print({torch_folder.RUN}[0].tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = np.array(json.loads(done.stdout.splitlines()[-1]), np.float32)
    assert np.abs(found - golden.vector).max() < 1e-4
