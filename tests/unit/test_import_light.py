"""What has to start fast, or to work without a device, imports no heavy library.

Each case runs in a process of its own: in this one torch may be loaded already.
"""

import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "transformers",
    "sentence_transformers",
    "pandas",
    "scipy",
    "huggingface_hub",
)


def loaded_by(statement: str) -> set[str]:
    """Top-level names of the heavy libraries that `statement` loads."""
    code = f"import sys\n{statement}\nprint(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split()) & {*HEAVY, "profilers"}


def test_the_check_sees_a_heavy_import() -> None:
    assert loaded_by("import scipy") >= {"scipy"}


@pytest.mark.parametrize("module", ["nasc", "nasc.api", "nasc.errors", "nasc.data", "nasc.cli"])
def test_start_up_loads_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import {module}") <= {"profilers"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    ["nasc.architecture.space", "nasc.solver", "nasc.latency.table", "nasc.latency.predict"],
)
def test_pure_modules_load_no_runtime_and_no_profiler(module: str) -> None:
    assert not loaded_by(f"import {module}") & {"torch", "onnxruntime", "transformers", "profilers"}


@pytest.mark.slow
def test_quality_needs_no_torch() -> None:
    assert "torch" not in loaded_by("import nasc.evaluation.agreement")


@pytest.mark.slow
@pytest.mark.parametrize("format_file", ["onnx_folder", "openvino_folder"])
def test_the_process_that_opens_packages_loads_no_torch(format_file: str) -> None:
    loaded = loaded_by(f"import nasc.package.worker, nasc.package.formats.{format_file}")
    assert not loaded & {"torch", "transformers", "openvino", "scipy", "huggingface_hub"}
