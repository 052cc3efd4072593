"""The ports of the tokenizer: that in C, built once for all tests of a process."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from kotlin_classes import KotlinClasses
from port import Port

import nasc.package
from profilers.runner.build import WARNINGS
from profilers.runner.targets import get_target

HERE = Path(__file__).parent

SOURCES = Path(nasc.package.__file__).parent / "c"

FLAGS = ("-std=c11", *WARNINGS)


def compiled(folder: Path, compiler: list[str], flags: tuple[str, ...]) -> Path:
    """The driver, built from nothing but C11."""
    program = folder / "driver"
    sources = [HERE / "driver.c", *sorted(SOURCES.glob("tokenizer*.c"))]
    command = [*compiler, *FLAGS, *flags, f"-I{SOURCES}", *map(str, sources), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


@pytest.fixture(scope="session")
def c_driver(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the driver in C."""
    compiler = next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler is None:
        pytest.importorskip("ziglang")
        compiler = [sys.executable, "-m", "ziglang", "cc"]
    return [str(compiled(tmp_path_factory.mktemp("driver"), compiler, ("-O2",)))]


@pytest.fixture(scope="session")
def driver(c_driver: list[str]) -> list[str]:
    """The command of the driver; a module of tests may take that of another port."""
    return c_driver


@pytest.fixture(scope="session")
def javascript_driver() -> list[str]:
    """The command of the driver in JavaScript."""
    if shutil.which("node") is None:
        pytest.skip("needs node (Debian's package nodejs)")
    return ["node", str(HERE / "driver.mjs"), str(SOURCES.with_name("web"))]


@pytest.fixture(scope="session")
def kotlin_driver(kotlin_classes: KotlinClasses) -> list[str]:
    """The command of the driver in Kotlin."""
    return kotlin_classes.command("TokenizerDriver")


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the driver with the address and undefined-behaviour sanitizers."""
    compiler = next((name for name in ("gcc", "clang") if shutil.which(name)), None)
    if compiler is None:
        pytest.skip("needs gcc or clang with sanitizers")
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g")
    folder = tmp_path_factory.mktemp("sanitized")
    (folder / "probe.c").write_text("int main(void) { return 0; }\n")
    command = [compiler, *flags, str(folder / "probe.c"), "-o", str(folder / "probe")]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip(f"{compiler} has no sanitizers here")
    return [str(compiled(folder, [compiler], flags))]


@pytest.fixture(scope="session")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of the driver for 64-bit Arm, emulated.

    With glibc's stubs, which ziglang makes in seconds: to compile musl takes it most of a minute.
    """
    emulator = next(filter(shutil.which, ("qemu-aarch64-static", "qemu-aarch64")), None)
    if emulator is None:
        pytest.skip("needs qemu-user-static (Debian's package)")
    pytest.importorskip("ziglang")
    root = Path("/usr/aarch64-linux-gnu")
    if not root.is_dir():
        pytest.skip("needs libc6-arm64-cross (Debian's package)")
    compiler = [sys.executable, "-m", "ziglang", "cc"]
    compiler += ["-target", get_target("aarch64-linux").triple]
    program = compiled(tmp_path_factory.mktemp("arm64"), compiler, ("-O2",))
    return [emulator, "-L", str(root), str(program)]


MakePort = Callable[..., Port]


@pytest.fixture
def make_port(driver: list[str], tmp_path: Path) -> MakePort:
    """Makes the port of a tokenizer."""

    def make(tokenizer, command: list[str] | None = None) -> Port:
        return Port(tokenizer, command or driver, tmp_path / "tokenizer.bin")

    return make
