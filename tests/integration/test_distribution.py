"""What is built to be installed: the sources, the wheel made of them, and that it works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("nasc", "profilers", "device_profiles")
DATA = (
    "device_profiles/host.toml",
    "nasc/data/shipped/README.md",
    "nasc/data/shipped/wikipedia-heldout.txt.gz",
    "nasc/data/shipped/wikipedia-train.txt.gz",
    "nasc/package/android/build.gradle.kts",
    "nasc/package/android/consumer-rules.pro",
    "nasc/package/android/src/main/AndroidManifest.xml",
    "nasc/package/android/src/main/kotlin/nasc/encoder/Tokenizer.kt",
    "nasc/package/android/src/test/kotlin/nasc/encoder/GoldenTest.kt",
    "nasc/package/android_c/src/main/cpp/CMakeLists.txt",
    "nasc/package/android_c/src/main/cpp/nasc_jni.c",
    "nasc/package/android_check.kt",
    "nasc/package/android_signatures/ai/onnxruntime/OrtSession.java",
    "nasc/package/c/CMakeLists.txt",
    "nasc/package/c/nasc.h",
    "nasc/package/c/nasc_context.c",
    "nasc/package/c/nasc_weights.S",
    "nasc/distillation/shipped/minilm-l6.safetensors",
    "nasc/package/ios/Package.swift",
    "nasc/package/ios/Sources/NascEncoder/NascEncoder.swift",
    "nasc/package/ios/Sources/NascTokenizer/include/module.modulemap",
    "nasc/package/ios/Tests/NascEncoderTests/GoldenTests.swift",
    "nasc/package/manifest.schema.json",
    "nasc/package/web/nasc.d.ts",
    "nasc/package/web/nasc.js",
    "nasc/package/web/package.json",
    "nasc/package/web_check.mjs",
    "nasc/py.typed",
    "nasc/supernet/shipped/minilm-l6.safetensors",
    "profilers/browser/page/index.html",
    "profilers/browser/page/models.js",
    "profilers/runner/CMakeLists.txt",
    "profilers/runner/src/main.c",
    "profilers/runner/src/ort_abi.h",
)
SUFFIXES = tuple(
    ".py .md .gz .toml .json .typed .safetensors .c .h .S .txt .js .mjs .html .ts .kt .kts .pro"
    " .xml .swift .modulemap .java".split()
)


@dataclass(frozen=True, slots=True)
class Built:
    """What was built, and the wheel installed away from the checkout.

    Attributes:
        sdist: Names in the source distribution, without its folder.
        wheel: Names in the wheel that was built of it.
        site: Where the wheel was installed.
    """

    sdist: frozenset[str]
    wheel: frozenset[str]
    site: Path


def run(*command: str | Path, cwd: Path) -> str:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if (cwd / "site").exists():
        environ["PYTHONPATH"] = str(cwd / "site")
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(source: Path, target: str, folder: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder, cwd=source)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("built")
    with tarfile.open(build(ROOT, "sdist", folder / "sdist")) as archive:
        archive.extractall(folder / "source", filter="data")
        names = [name.partition("/")[2] for name in archive.getnames()]
    (source,) = (folder / "source").iterdir()
    wheel = build(source, "wheel", folder / "wheel")
    pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile")
    run(sys.executable, *pip, "--target", folder / "site", wheel, cwd=source)
    return Built(frozenset(names), frozenset(zipfile.ZipFile(wheel).namelist()), folder / "site")


def test_nothing_of_the_packages_is_left_out(built: Built) -> None:
    own = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix in SUFFIXES
    }
    assert own >= set(DATA)
    assert not own - built.sdist
    assert not own - built.wheel


def test_only_the_packages_and_their_licence_are_installed(built: Built) -> None:
    tops = {name.partition("/")[0] for name in built.wheel}
    (about,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops == {*PACKAGES, about}
    licences = ("LICENSE", "NOTICE", "nasc/data/shipped/README.md")
    assert {f"{about}/licenses/{name}" for name in licences} <= built.wheel
    assert not [name for name in built.wheel if "__pycache__" in name]


def test_the_sources_hold_what_a_build_and_the_two_commands_of_the_readme_need(
    built: Built,
) -> None:
    needed = {"pyproject.toml", "README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "constraints.txt"}
    assert needed | {"scripts/check", "tests/conftest.py"} <= built.sdist


def test_what_is_installed_works_away_from_the_checkout(built: Built) -> None:
    from nasc import __version__

    cwd = built.site.parent
    nasc = (sys.executable, built.site / "bin" / "nasc")
    assert run(*nasc, "--version", cwd=cwd).strip().endswith(__version__)
    devices = json.loads(run(*nasc, "devices", "--json", cwd=cwd))
    paths = [Path(device["path"]) for device in devices if device["name"] == "host"]
    assert paths == [built.site / "device_profiles" / "host.toml"]
    report = json.loads(run(*nasc, "report", "--json", cwd=cwd))
    assert Path(report["supernet"]).is_relative_to(built.site)
    assert report["compact"]
    code = (
        "from nasc.package import manifest; from nasc.architecture.space import load_space; "
        "load_space('minilm-l6'); print(manifest.__file__)"
    )
    assert run(sys.executable, "-c", code, cwd=cwd).strip().startswith(str(built.site))
