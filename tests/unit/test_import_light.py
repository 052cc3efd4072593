"""What has to start fast, or to work without a device, imports no heavy library.

Each case runs in a process of its own: in this one torch may be loaded already.
"""

import subprocess
import sys

import pytest

HEAVY = ("torch", "onnx", "onnxruntime", "transformers", "sentence_transformers", "pandas", "scipy")


def loaded_by(statement: str) -> set[str]:
    """Top-level names of the heavy libraries that `statement` loads."""
    code = f"import sys\n{statement}\nprint(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split()) & {*HEAVY, "profilers"}


def test_the_check_sees_a_heavy_import() -> None:
    assert loaded_by("import scipy") >= {"scipy"}


def importing(*modules: str) -> set[str]:
    """What they load together: by one process, which takes a second to start."""
    return loaded_by(f"import {', '.join(modules)}")


def test_start_up_loads_nothing_heavy() -> None:
    found = importing("nasc", "nasc.api", "nasc.errors", "nasc.data", "nasc.cli")
    assert found <= {"profilers"}


@pytest.mark.slow
def test_pure_modules_load_no_runtime_and_no_profiler() -> None:
    architecture = ("nasc.architecture.space", "nasc.solver")
    found = importing(*architecture, "nasc.latency.table", "nasc.latency.predict")
    assert not found & {"torch", "onnxruntime", "transformers", "profilers"}


@pytest.mark.slow
def test_quality_needs_no_torch() -> None:
    assert "torch" not in importing("nasc.evaluation.agreement")


@pytest.mark.slow
def test_the_process_that_opens_packages_loads_no_torch() -> None:
    formats = [f"nasc.package.formats.{name}" for name in ("onnx_folder", "openvino_folder")]
    loaded = importing("nasc.package.worker", *formats)
    assert not loaded & {"torch", "transformers", "openvino"}
