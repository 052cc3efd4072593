"""Building the native worker."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from profilers import RunnerUnavailable
from profilers.runner import build
from profilers.runner.targets import TARGETS, runner_folder, this_machine

MACHINES = {"x86_64-linux": 62, "aarch64-linux": 183}
"""Of ELF headers."""

MAX_TOGETHER_BYTES = 500_000


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_a_program_is_for_its_machine(built_cache: Path, target: str) -> None:
    program = build.build_runner(target, built_cache)
    header = program.read_bytes()[:20]
    assert header[:7] == b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian
    assert struct.unpack("<H", header[18:20]) == (MACHINES[target],)
    assert os.access(program, os.X_OK)


@pytest.mark.slow
def test_both_programs_are_small(built_cache: Path) -> None:
    sizes = [build.build_runner(target, built_cache).stat().st_size for target in TARGETS]
    assert sum(sizes) < MAX_TOGETHER_BYTES


def test_nothing_but_the_programs_is_kept(built_cache: Path) -> None:
    program = build.build_runner(this_machine().name, built_cache)
    names = {path.name for path in runner_folder(built_cache).iterdir()}
    assert program.name in names
    kept = r"nasc-runner-\w+-linux-[0-9a-f]{16}|onnxruntime-[0-9.]+-\w+-linux"  # for other tests
    assert not [name for name in names if not re.fullmatch(kept, name)]


def test_what_was_built_is_not_built_again(
    built_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it was compiled again")

    monkeypatch.setattr(build, "_compile", never)
    assert build.build_runner(this_machine().name, built_cache).is_file()
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-g"))
    with pytest.raises(AssertionError, match="compiled again"):
        build.build_runner(this_machine().name, built_cache)


def test_the_compiler_and_every_source_are_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = this_machine()
    first = build._key(target)
    shutil.copytree(build.SOURCES, tmp_path / "src")
    monkeypatch.setattr(build, "SOURCES", tmp_path / "src")
    assert build._key(target) == first
    (tmp_path / "src" / "limits.h").open("a").write("\n")
    second = build._key(target)
    monkeypatch.setattr(build, "_compiler_version", lambda: "0.0")
    assert len({first, second, build._key(target)}) == 3


def test_a_missing_compiler_is_told_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(RunnerUnavailable, match=r"ziglang, is not installed.*'nasc\[runner\]'"):
        build.build_runner(this_machine().name, tmp_path)


@pytest.mark.slow
def test_a_failure_of_the_compiler_is_told_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "main.c").write_text("int main(void) { int unused = 1; return 0; }\n")
    monkeypatch.setattr(build, "SOURCES", source)
    message = r"could not be built for '\S+' by ziglang \S+ \(exit status 1\).*unused"
    with pytest.raises(RunnerUnavailable, match=message):
        build.build_runner(this_machine().name, tmp_path / "cache")
    assert not list(runner_folder(tmp_path / "cache").iterdir())


@pytest.mark.parametrize("target", ["riscv64-linux", "x86_64-windows", "../x"])
def test_other_systems_are_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(RunnerUnavailable, match=r"is for: x86_64-linux, aarch64-linux"):
        build.build_runner(target, tmp_path)


def test_a_cache_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunnerUnavailable, match=r"cannot make the folder .*set NASC_CACHE"):
        build.build_runner(this_machine().name, tmp_path / "file")


def test_the_cmake_file_holds_the_same_flags() -> None:
    text = (build.SOURCES.parent / "CMakeLists.txt").read_text()
    for flag in build.WARNINGS:
        assert re.search(rf"{flag}[\s)]", text), flag
    assert "C_STANDARD 11" in text
    assert all(name.removesuffix(".c") in text for name in build.NOT_LINKED)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler of the system")
def test_cmake_builds_it(tmp_path: Path) -> None:
    for arguments in (["-S", build.SOURCES.parent, "-B", tmp_path], ["--build", tmp_path]):
        done = subprocess.run(["cmake", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    done = subprocess.run([tmp_path / "nasc-runner"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: nasc-runner LIBRARY [PARENT]\n")


ENTRY = re.compile(r"ENTRY\((\d+), (\w+),")


def test_entries_of_the_runtime_s_table_are_in_order() -> None:
    text = (build.SOURCES / "ort_abi.h").read_text()
    entries = [(int(number), name) for number, name in ENTRY.findall(text)]
    numbers = [number for number, _ in entries]
    assert len(entries) > 40
    assert numbers == sorted(set(numbers))
    assert f"ORT_ABI_LENGTH = {numbers[-1] + 1}" in text
    used = "".join(path.read_text() for path in build.sources())
    assert not [name for _, name in entries if not re.search(rf"\b{name}\b", used)]


def test_entries_are_where_a_real_header_has_them(tmp_path: Path) -> None:
    folders = [os.environ.get("ORT_INCLUDE", ""), "/usr/include/onnxruntime", "/usr/include"]
    places = [folder for folder in folders if (Path(folder) / "onnxruntime_c_api.h").is_file()]
    compiler = shutil.which("cc")
    if not places or compiler is None:
        pytest.skip("needs a C compiler and onnxruntime_c_api.h: set ORT_INCLUDE to its folder")
    check = build.SOURCES / "check_abi.c"
    command = [compiler, "-std=c11", "-fsyntax-only", "-I", places[0], str(check)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
