"""Packages for iOS: what is checked of them without Swift."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nasc.data.prompts import Prompts
from nasc.errors import PackageError
from nasc.package.formats import ios_folder
from nasc.package.hashes import record_file
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import MANIFEST, read_manifest

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def ios_package(build_app: Make) -> Path:
    """A package; tests must not change it."""
    return build_app("ios")


def test_what_an_app_loads_is_stated(ios_package: Path) -> None:
    text = (ios_package / ios_folder.CONTENTS).read_text()
    for name in (ios_folder.MODEL, ios_folder.TABLES):
        record = record_file(ios_package / name)
        assert f'name: "{Path(name).name}", sizeBytes: {record.size_bytes}' in text
        assert f'sha256: "{record.sha256}"' in text
    for line in ("dimensions: 64", "maxLength: 48", 'output: "sentence_embedding"', "rows: 0"):
        assert line in text


def test_sources_and_the_list_of_them_agree(ios_package: Path) -> None:
    sources = ios_folder.SOURCES
    found = {path.relative_to(sources).as_posix() for path in sources.rglob("*") if path.is_file()}
    assert found == set(ios_folder.COPIED)
    ours = {path.name for path in ios_folder.C_SOURCES.glob("tokenizer*.[ch]")}
    assert set(ios_folder.FROM_C.values()) == ours
    assert f'exact: "{ios_folder.ONNXRUNTIME_SWIFT}"' in (sources / "Package.swift").read_text()


def test_fields_that_swift_states_are_those_of_its_struct(ios_package: Path) -> None:
    struct = (ios_package / "Sources/NascEncoder/ModelContents.swift").read_text()
    stated = (ios_package / ios_folder.CONTENTS).read_text()
    fields = re.findall(r"let (\w+):", struct.partition("struct ModelContents")[2])
    assert re.findall(r"^    (\w+): ", stated, re.MULTILINE) == fields


def test_two_builds_are_the_same(ios_package: Path, build_app: Make) -> None:
    one, two = (record_file(folder / MANIFEST) for folder in (ios_package, build_app("ios")))
    assert one == two  # which has the hashes of all that was not measured


def test_what_was_changed_is_found_by_what_it_is(ios_package: Path, tmp_path: Path) -> None:
    package = Path(shutil.copytree(ios_package, tmp_path / "package"))
    names = ["Package.swift", "Sources/NascTokenizer/tokenizer.c", ios_folder.CONTENTS]
    for name in names:
        with (package / name).open("a") as file:
            file.write("// more\n")
    problems = ios_folder.wrong_more(package, read_manifest(package))
    assert problems == [f"{name} is not as nasc writes it" for name in names]


def test_it_says_what_was_not_run(ios_package: Path) -> None:
    manifest = read_manifest(ios_package)
    assert (manifest.conditions.runtime, manifest.limits, manifest.measured) == ("ios", {}, None)
    readme = (ios_package / "README.md").read_text()
    assert "No latency is promised in an app" in readme
    assert "No Swift compiler has seen this" in readme


def test_heads_without_a_call_are_refused(build_app: Make) -> None:
    with pytest.raises(PackageError, match=r"--format ios .* head 'spans'. Leave --format ios out"):
        build_app("ios", "fp32", "spans")


def test_the_lines_of_the_readme_have_the_prompt(
    make_model: Make, make_manifest: Callable[..., Manifest]
) -> None:
    made = make_manifest(make_model("fp32", "embed"), "fp32", "embed")
    prompts = Prompts((("query", 'find \\("it"): '),), "query")
    used = ios_folder.own_usage(dataclasses.replace(made, prompts=prompts))
    assert 'encoder.embed("find \\\\(\\"it\\"): A man' in used


@pytest.mark.slow
def test_the_tokenizer_is_compiled_for_ios(ios_package: Path, tmp_path: Path) -> None:
    """As Swift's package manager does it: what is public is found in include/ alone."""
    zig = pytest.importorskip("ziglang")
    headers = Path(zig.__file__).parent / "lib" / "libc" / "include" / "any-darwin-any"
    folder = ios_package / "Sources" / "NascTokenizer"
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-ios", "-std=c11"]
    command += ["-isystem", str(headers), f"-I{folder / 'include'}", "-Wall", "-Werror", "-c"]
    for source in folder.glob("*.c"):
        made = tmp_path / f"{source.stem}.o"
        done = subprocess.run(
            [*command, str(source), "-o", str(made)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        mach_o_64, arm64 = b"\xcf\xfa\xed\xfe", b"\x0c\x00\x00\x01"
        assert made.read_bytes()[:8] == mach_o_64 + arm64
