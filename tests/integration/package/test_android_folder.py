"""Packages for Android: what is checked without Kotlin, and what Kotlin gives on Java."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from kotlin_classes import HERE, KotlinClasses, run_encoder
from tokenizers import pre_tokenizers
from transformers import BertTokenizer

from nasc.data.prompts import Prompts
from nasc.errors import PackageError
from nasc.package import installed, kotlin_program
from nasc.package.formats import android_folder, ios_folder
from nasc.package.formats.base import tables_of
from nasc.package.hashes import record_file
from nasc.package.kotlin_program import COMPILER_VARIABLE, KOTLIN
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import MANIFEST, read_manifest
from nasc.package.verify import verify_package
from nasc.pipelines import app_format

pytestmark = pytest.mark.usefixtures("shared_process")

Make = Callable[..., Path]


@pytest.fixture
def package(android_package: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(android_package, tmp_path / "package"))


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kotlin's compiler is not at hand."""
    monkeypatch.delenv(COMPILER_VARIABLE, raising=False)


def outcomes(folder: Path) -> dict[str, tuple[bool | None, str]]:
    report = verify_package(folder, measure=False)
    return {check.name: (check.ok, check.detail) for check in report.checks}


@pytest.mark.slow
def test_all_but_kotlin_is_checked_without_it(
    android_package: Path, build_app: Make, no_compiler: None
) -> None:
    """And all of packages for iOS: both by one process, which asks for the tables once."""
    found = outcomes(android_package)
    held, why = found.pop("Kotlin")
    assert held is None
    assert "Java" in why or f"npm install kotlin-compiler@{KOTLIN}" in why
    for checks, form in (found, android_folder), (outcomes(build_app("ios")), ios_folder):
        checks.pop("latency", None)
        assert {name: what for name, what in checks.items() if what[0] is not True} == {}
        assert f"{form.TABLES} and its golden texts" in checks["tokenizer's tables"][1]


def test_what_an_app_loads_is_stated(android_package: Path) -> None:
    text = (android_package / android_folder.CONTENTS).read_text()
    for name in (android_folder.MODEL, android_folder.TABLES):
        record = record_file(android_package / name)
        stated = f'"{Path(name).name}", {record.size_bytes}L, "{record.sha256}"'
        assert f"AssetRecord({stated})" in text
    for line in ("dimensions = 64", "maxLength = 48", 'output = "sentence_embedding"', "rows = 0"):
        assert line in text
    assert tables_of(android_folder) == android_folder.TABLES


def test_sources_and_the_list_of_them_agree() -> None:
    sources = android_folder.SOURCES
    found = {path.relative_to(sources).as_posix() for path in sources.rglob("*") if path.is_file()}
    assert found == set(android_folder.COPIED)
    gradle = (sources / "build.gradle.kts").read_text()
    assert f"onnxruntime-android:{android_folder.ONNXRUNTIME_ANDROID}" in gradle
    assert len(re.findall(rf"onnxruntime[a-z-]*:{android_folder.ONNXRUNTIME_ANDROID}", gradle)) == 2


def test_the_lock_file_of_ci_is_of_the_release_that_is_named() -> None:
    entry = json.loads((HERE / "package-lock.json").read_text())["packages"][
        "node_modules/kotlin-compiler"
    ]
    assert entry["version"] == KOTLIN
    assert entry["integrity"].startswith("sha512-")


def test_it_promises_no_latency_and_says_what_was_not_run(android_package: Path) -> None:
    manifest = read_manifest(android_package)
    assert (manifest.conditions.runtime, manifest.limits, manifest.measured) == (
        "android",
        {},
        None,
    )
    readme = (android_package / "README.md").read_text()
    assert "No latency is promised in an app" in readme
    assert "Not run: Gradle, R8, an app, a phone, onnxruntime-android" in readme


def test_two_builds_are_the_same(android_package: Path, build_app: Make) -> None:
    one, two = (
        record_file(folder / MANIFEST) for folder in (android_package, build_app("android"))
    )
    assert one == two  # which has the hashes of all that was not measured


@pytest.mark.parametrize(
    "name",
    ["build.gradle.kts", "src/main/kotlin/nasc/encoder/Tokenizer.kt", android_folder.TABLES],
)
def test_one_changed_byte_is_found(package: Path, name: str, no_compiler: None) -> None:
    content = (package / name).read_bytes()
    (package / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = outcomes(package)
    assert f"{name} was changed" in found["files"][1]
    assert found["Kotlin"][0] is None


CHANGES = {
    "build.gradle.kts": ("dependencies {", 'apply(from = "elsewhere")\ndependencies {'),
    "src/main/kotlin/nasc/encoder/TextEncoder.kt": ("isFinite()", "isNaN()"),
    android_folder.CONTENTS: ("maxLength = 48", "maxLength = 47"),
}


def test_what_was_hashed_anew_is_found_by_what_it_is(package: Path) -> None:
    for name, (old, new) in CHANGES.items():
        text = (package / name).read_text()
        assert old in text
        (package / name).write_text(text.replace(old, new, 1))
    problems = android_folder.wrong_more(package, read_manifest(package))
    assert problems == [f"{name} is not as nasc writes it" for name in CHANGES]


@pytest.mark.parametrize("head", ["hidden", "spans"])
def test_heads_without_a_call_are_refused(build_app: Make, head: str) -> None:
    with pytest.raises(PackageError, match=f"--format android .* head '{head}'. Leave --format"):
        build_app("android", "fp32", head)


def test_a_tokenizer_without_a_port_is_refused(tokenizer: BertTokenizer) -> None:
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.Digits()
    context = SimpleNamespace(tokenizer=other, max_length=48)
    with pytest.raises(PackageError, match=r"pre_tokenizer.type = 'Digits' is not ported"):
        app_format.check_app("android", context, "embed")  # type: ignore[arg-type]


def test_the_lines_of_the_readme_have_the_prompt(
    make_model: Make, make_manifest: Callable[..., Manifest]
) -> None:
    made = make_manifest(make_model("fp32", "embed"), "fp32", "embed")
    prompts = Prompts((("query", 'find "$it": '),), "query")
    used = android_folder.own_usage(dataclasses.replace(made, prompts=prompts))
    assert 'encoder.embed("find \\"\\$it\\": A man' in used


def test_other_compilers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMPILER_VARIABLE, str(tmp_path))
    with pytest.raises(PackageError, match="there is no package of npm"):
        kotlin_program.compiler_folder()
    (tmp_path / "package.json").write_text('{"name": "kotlin-compiler", "version": "1.9.0"}')
    with pytest.raises(PackageError, match=r"it is kotlin-compiler 1.9.0, not kotlin-compiler 2"):
        kotlin_program.compiler_folder()


def test_java_is_asked_for(android_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed.shutil, "which", lambda name: None)
    held, why = android_folder.run_more(android_package, read_manifest(android_package))
    assert (held, why) == (None, "Java 11 or newer is not installed")


def compiled_already(classes: KotlinClasses, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run_more` takes classes that are there, for to compile takes longest."""

    def copied(
        command: str, compiler: Path, sources: list[Path], folder: Path, *, strict: bool
    ) -> str:
        assert all(source.is_file() for source in sources)
        shutil.copytree(classes.folder, folder, dirs_exist_ok=True)
        return ""

    monkeypatch.setattr(kotlin_program, "compile_kotlin", copied)


@pytest.mark.slow
def test_it_gives_the_golden_tokens(
    package: Path, kotlin_classes: KotlinClasses, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled_already(kotlin_classes, monkeypatch)
    held, what = android_folder.run_more(package, read_manifest(package))
    assert held is True
    assert "the tokens of 2,400 texts; not its vectors" in what
    golden = package / "tokenizer_golden.jsonl"
    golden.write_text(golden.read_text().replace('"ids": [2, ', '"ids": [3, ', 1))
    held, why = android_folder.run_more(package, read_manifest(package))
    assert held is False
    assert "other tokens for '" in why
    (package / android_folder.TABLES).write_bytes(b"no tables")
    held, why = android_folder.run_more(package, read_manifest(package))
    assert held is False
    assert "tokenizer.bin is damaged: it is another file" in why


@pytest.mark.slow
def test_what_does_not_compile_is_told(
    package: Path, monkeypatch: pytest.MonkeyPatch, kotlin_classes: KotlinClasses
) -> None:
    def refused(*_: object, **__: object) -> str:
        return "Tokenizer.kt:1:1: error: expecting a top level declaration"

    monkeypatch.setattr(kotlin_program, "compile_kotlin", refused)
    held, why = android_folder.run_more(package, read_manifest(package))
    assert held is False
    assert "it does not compile: Tokenizer.kt:1:1" in why


@pytest.mark.slow
def test_the_encoder_as_an_app_uses_it(
    android_package: Path, kotlin_classes: KotlinClasses, tmp_path: Path
) -> None:
    """Kotlin's own code around onnxruntime in Python: what is loaded, run, refused and closed."""
    found = run_encoder(kotlin_classes, android_package, tmp_path)
    assert found["mapped"] == found["copied"] == found["again"] == "64 true 1.0 true 2"
    model = record_file(android_package / android_folder.MODEL)
    assert (found["copies before"], found["copies"]) == ("[]", f"[{model.sha256}.onnx]")
    assert "model.onnx is not the file of this package: build the app anew" in found["another"]
    assert found["left behind"] == "[]"
    assert "model.onnx is not the file of this package" in found["longer"]
    assert found["golden tokens"] == found["golden vectors"] == "kotlin.Unit"
    assert found["threads"] == found["closing"] == "true"
    assert found["surrogate"].endswith("the text has a lone surrogate, which is no character")
    assert "vectors of 2 and 3 numbers have no similarity" in found["sizes"]
    assert found["closed"].endswith("the encoder is closed: create another one")
    assert "threads is a whole number from 1, not 0" in found["no threads"]
    assert found["left open"] == "0"
