"""Packages for Android with the network in C: what is checked, and what Java gets from the code."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from kotlin_classes import KotlinClasses
from resealed import reseal
from transformers import BertTokenizer

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.networks.network import random_network
from nasc.package.build import build_package
from nasc.package.formats import android_c_folder, c_package
from nasc.package.formats.android_c_folder import C_FOLDER, PROCESSORS
from nasc.package.golden import Golden
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import read_manifest
from nasc.package.unmeasured import without_latency
from nasc.package.verify import verify_package

pytest.importorskip("tvm")
pytest.importorskip("ziglang")

from nasc.evaluation.parity import check_reduced
from nasc.pipelines import c_format

ARCH = platform.machine()
GEOMETRY = Geometry(
    layers=2, hidden=32, head_size=32, intermediate=128, vocab_size=77, max_positions=64
)

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
    pytest.mark.skipif(ARCH not in PROCESSORS, reason="there is no code for it"),
]


@pytest.fixture(scope="module")
def packed(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: BertTokenizer,
    make_model: Callable[..., Path],
    make_manifest: Callable[..., Manifest],
) -> Path:
    """A package of the network of `android_package`; tests must not change it."""
    place = tmp_path_factory.mktemp("android-c")
    form, about = c_format.c_format("android-c"), make_manifest(make_model())
    network = random_network(about.architecture, about.geometry)
    found = c_format._write_library(form, network, 48, place / "library" / form.C_FOLDER)
    assert found == ARCH
    return build_package(
        place / "package-android-c",
        model=place / "library",
        tokenizer=tokenizer,
        manifest=without_latency(about, "android-c", form.NOT_PROMISED),
        open_encoder=c_format.open_c,
    )


@pytest.fixture
def package(packed: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copytree(packed, tmp_path / "package"))


def outcomes(folder: Path) -> dict[str, tuple[bool | None, str]]:
    report = verify_package(folder, run_code=True)
    return {check.name: (check.ok, check.detail) for check in report.checks}


def test_all_is_checked_and_code_for_phones_is_read(
    packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NASC_KOTLIN_COMPILER", "")
    found = outcomes(packed)
    held, why = found.pop("Kotlin")
    assert held is None
    assert "npm install kotlin-compiler" in why or "Java" in why
    assert {name: what for name, what in found.items() if what[0] is not True} == {}
    size = sum(
        path.stat().st_size
        for path in (packed / C_FOLDER).rglob("*")
        if path.parent.name in PROCESSORS or path.suffix == ".json"
    )
    assert read_manifest(packed).size_bytes == size  # of both processors
    for arch in PROCESSORS:
        assert (packed / C_FOLDER / arch / "kernels.o").is_file()
    text = (packed / "README.md").read_text()
    other = next(arch for arch in PROCESSORS if arch != ARCH)
    assert f"Parity and conformance are of the code for {ARCH}, which was run;" in text
    assert f"that for {other}\nwas compiled and not run." in text
    assert "No latency is promised on a phone" in text
    assert "Gradle, the NDK, R8, an app, a phone" in text


def test_code_in_int8_is_that_of_its_network(tmp_path: Path) -> None:
    """There is code in int8 for every processor, and this machine's computes the network."""
    network = random_network(Architecture((Block(32, ("mha", "ffn")),), "int8"), GEOMETRY)
    form = c_format.c_format("android-c")
    assert c_format._write_library(form, network, 24, tmp_path) == ARCH
    facts = android_c_folder.inspect(tmp_path / c_package.MODEL)
    assert (facts.computed_in, facts.unexpected) == ("int8", ())
    for arch in PROCESSORS:
        assert (tmp_path / arch / "kernels.o").is_file()
    tokens = [[2, *range(5, size), 3] for size in range(6, 24)]
    with c_package.open_session(tmp_path / c_package.MODEL) as session:
        encoder = c_format.Encoder(tmp_path / c_package.MODEL, session=session)
        report = check_reduced(network, encoder, tokens)
    assert report.mean_cosine > 0.99


def test_sources_and_the_list_of_them_agree() -> None:
    sources = android_c_folder.SOURCES
    found = {path.relative_to(sources).as_posix() for path in sources.rglob("*") if path.is_file()}
    assert found == set(android_c_folder.COPIED)
    rules = (sources / "consumer-rules.pro").read_text()
    assert "nasc.encoder.NativeLibrary" in rules


def test_what_was_hashed_anew_is_found_by_what_it_is(package: Path) -> None:
    other = next(arch for arch in PROCESSORS if arch != ARCH)
    swapped = package / C_FOLDER / other / "kernels.o"
    code = swapped.read_bytes()
    swapped.write_bytes((package / C_FOLDER / ARCH / "kernels.o").read_bytes())
    reseal(package)
    assert f"{other}/kernels.o is not what network.{other}.json" in outcomes(package)["model"][1]
    swapped.write_bytes(code)
    for name in ("src/main/cpp/nasc_jni.c", f"{C_FOLDER}/nasc.h"):
        path = package / name
        path.write_bytes(path.read_bytes() + b"\n")
    reseal(package)
    problems = android_c_folder.wrong_more(package, read_manifest(package))
    assert problems == [
        "src/main/cpp/nasc_jni.c is not as nasc writes it",
        f"{C_FOLDER}/nasc.h is not as nasc writes it",
    ]


def test_code_of_two_networks_is_no_package(package: Path) -> None:
    other = next(arch for arch in PROCESSORS if arch != ARCH)
    path = package / C_FOLDER / c_package.described(other)
    text = path.read_text()
    path.write_text(text.replace('"embed"', '"embed-cls"'))
    with pytest.raises(ValueError, match="two networks"):
        android_c_folder.inspect(package / android_c_folder.MODEL)
    path.write_text(text.replace(f'"arch": "{other}"', f'"arch": "{ARCH}"'))
    with pytest.raises(ValueError, match="of another processor than it says"):
        android_c_folder.inspect(package / android_c_folder.MODEL)


@pytest.mark.skipif(
    not os.environ.get("NASC_TEST_ARM64_TVM"), reason="takes long: NASC_TEST_ARM64_TVM=1"
)
@pytest.mark.skipif(shutil.which("qemu-aarch64-static") is None, reason="needs qemu-user-static")
@pytest.mark.skipif(ARCH == "aarch64", reason="is its own processor")
def test_the_code_for_phones_gives_the_golden_vectors(packed: Path, tmp_path: Path) -> None:
    """Under qemu, by the C library of musl, which ziglang brings."""
    import numpy as np

    from nasc.package.c_program import run_program
    from nasc.package.formats.c_folder import COMPILED, TOKENIZER_COMPILED

    folder = packed / C_FOLDER
    names = [*COMPILED, *TOKENIZER_COMPILED, "embed.c", "aarch64/nasc_network.c"]
    sources = [*names, "aarch64/kernels.o"]
    program = tmp_path / "embed"
    subprocess.run(
        [
            *("python", "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static"),
            *("-std=c11", "-D_GNU_SOURCE", "-O2", f"-I{folder}"),
            *(str(folder / name) for name in sources),
            *("-lpthread", "-lm", "-o", str(program)),
        ],
        check=True,
    )
    golden = Golden.read(packed / "golden.json")
    lines = [" ".join(map(str, one.input_ids)) for one in golden.texts]
    command = ["qemu-aarch64-static", "-cpu", "max", program, folder / "aarch64" / "weights.bin"]
    for row, one in zip(run_program(command, lines), golden.texts, strict=True):
        np.testing.assert_allclose(row, one.vector, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def library(
    packed: Path, kotlin_classes: KotlinClasses, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of libnasc_jni.so, made by the package's own CMake file for this machine's Java."""
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    home = Path(shutil.which("javac") or "").resolve().parents[1]
    build = tmp_path_factory.mktemp("jni")
    flags = ["-DCMAKE_C_FLAGS=-Wall -Wextra -Werror"]
    for command in (
        ["cmake", "-S", str(packed / "src/main/cpp"), "-B", str(build), *flags],
        ["cmake", "--build", str(build)],
    ):
        subprocess.run(
            command,
            check=True,
            env=os.environ | {"JAVA_HOME": str(home)},
            stdout=subprocess.DEVNULL,
        )
    return build


def test_java_gets_python_s_vectors(
    packed: Path, kotlin_classes: KotlinClasses, library: Path
) -> None:
    """Texts in, vectors out, by Kotlin and C alone; and what is wrong is told, not run."""
    command = kotlin_classes.command(
        "NativeDriver", f"-Djava.library.path={library}", "-Xcheck:jni"
    )
    done = subprocess.run([*command, str(packed)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = dict(line.split("\t") for line in done.stdout.splitlines() if "\t" in line)
    assert float(found["vectors"]) < 1e-5
    assert found["same"] == found["threads"] == "true"
    assert "an encoder with 1 threads is open" in found["other threads"]
    assert found["second"] == found["first still"] == "64"
    assert found["none is open"] == "-5"
    for name, why in (
        ("too long", "length"),
        ("no token", "token"),
        ("short mask", "argument"),
        ("short out", "argument"),
        ("too many", "argument"),
    ):
        assert why in found[name], found[name]
    assert "the encoder is closed" in found["closed"]
    assert found["anew"] == "64"
    assert "WARNING" not in done.stdout


def test_without_the_library_java_is_told_of_the_processor(kotlin_classes: KotlinClasses) -> None:
    """As on a phone of 32 bits, for which an app has none."""
    done = subprocess.run(
        kotlin_classes.command("NativeDriver", "-Djava.library.path=/nowhere"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "IllegalStateException: there is no code for this processor: " in done.stdout
