"""The native worker is built once, for all tests and all processes of a run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from raw_worker import RawWorker

from profilers.runner import build
from profilers.runner.library import runtime_library
from profilers.runner.targets import this_machine


@pytest.fixture(scope="session")
def program(built_cache: Path) -> Path:
    """The native worker for this machine."""
    return build.build_runner(this_machine().name, built_cache)


@pytest.fixture(scope="session")
def library() -> Path:
    """This machine's library of ONNX Runtime."""
    return runtime_library(this_machine().name)


Compile = Callable[..., Path]


@pytest.fixture(scope="session")
def compile_sanitized(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Builds with the sanitizers of the system's own compiler (ziglang has none for addresses)."""
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g"]
    compiler = next((name for name in ("gcc", "clang") if shutil.which(name)), None)
    if compiler is None:
        pytest.skip("needs gcc or clang with sanitizers")
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.c").write_text("int main(void) { return 0; }\n")
    command = [compiler, *flags, folder / "probe.c", "-o", folder / "probe"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip(f"{compiler} has no sanitizers here")

    def make(*definitions: str) -> Path:
        made = tmp_path_factory.mktemp("sanitized") / "nasc-runner"
        command = [compiler, *build.LANGUAGE, *build.WARNINGS, *flags, *definitions]
        subprocess.run([*command, *build.sources(), "-o", made, *build.LIBRARIES], check=True)
        return made

    return make


@pytest.fixture(scope="session")
def sanitized(compile_sanitized: Compile) -> Path:
    """The native worker with sanitizers."""
    return compile_sanitized()


@pytest.fixture
def native(program: Path, library: Path) -> Iterator[Callable[[], RawWorker]]:
    """Starts native workers, which end with the test."""
    yield from _starting([str(program), str(library), str(os.getpid())])


@pytest.fixture
def python() -> Iterator[Callable[[], RawWorker]]:
    """Starts Python workers, which end with the test."""
    yield from _starting([sys.executable, "-m", "profilers.worker", str(os.getpid())])


def _starting(command: list[str]) -> Iterator[Callable[[], RawWorker]]:
    started: list[RawWorker] = []

    def start() -> RawWorker:
        started.append(RawWorker(command))
        return started[-1]

    yield start
    for worker in started:
        worker.close()
