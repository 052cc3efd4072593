"""Archives for Android: their form, and the classes that Kotlin's compiler makes for them."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kotlin_classes import KotlinClasses
from resealed import reseal

from nasc.errors import PackageError
from nasc.package import aar, kotlin_program
from nasc.package.formats import aar_folder, android_folder
from nasc.package.formats.aar_folder import AAR
from nasc.package.kotlin_program import COMPILER_VARIABLE
from nasc.package.read_manifest import read_manifest
from nasc.package.verify import verify_package

Make = Callable[..., Path]

CLASS = b"\xca\xfe\xba\xbe\0\0\0\x37" + b"\0" * 8
"""The head of one for Java 11."""


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """What was compiled, in a few bytes."""
    folder = tmp_path / "classes" / "nasc" / "encoder"
    folder.mkdir(parents=True)
    for name in ("NascEncoder", "Tokenizer"):
        (folder / f"{name}.class").write_bytes(CLASS)
    return tmp_path / "classes"


@pytest.fixture
def package(
    build_app: Make, classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A package with those classes."""

    @contextlib.contextmanager
    def compiled(folder: Path, manifest: object) -> Iterator[aar_folder._Compiled]:
        yield aar_folder._Compiled(tmp_path, classes, "kotlin-compiler 2.4.20")

    monkeypatch.setattr(aar_folder, "check_compiler", lambda: None)
    monkeypatch.setattr(aar_folder, "_compiled", compiled)
    monkeypatch.setattr(kotlin_program, "missing", lambda: "")
    monkeypatch.setattr(aar_folder, "_tokens", lambda found: (True, "the tokens"))
    return build_app("aar")


def test_it_is_what_an_app_s_build_expects(package: Path) -> None:
    with zipfile.ZipFile(package / AAR) as found:
        assert found.testzip() is None
        assert found.namelist() == [
            "AndroidManifest.xml",
            "classes.jar",
            "R.txt",
            "proguard.txt",
            "assets/nasc/model.onnx",
            "assets/nasc/tokenizer.bin",
            "META-INF/com/android/build/gradle/aar-metadata.properties",
        ]
        assert found.read("assets/nasc/model.onnx") == (package / "model.onnx").read_bytes()
        assert b'package="nasc.encoder"' in found.read("AndroidManifest.xml")
        assert b"-keep class ai.onnxruntime" in found.read("proguard.txt")
        with zipfile.ZipFile(io.BytesIO(found.read("classes.jar"))) as jar:
            names = ["META-INF/MANIFEST.MF"]
            names += [f"nasc/encoder/{name}.class" for name in ("NascEncoder", "Tokenizer")]
            assert jar.namelist() == names
    report = verify_package(package)
    assert report.exit_code == 0, report.to_dict()
    assert "No latency is promised in an app" in (package / "README.md").read_text()


def test_changed_archives_are_found_by_what_they_hold(package: Path) -> None:
    parts = aar.read_archive((package / AAR).read_bytes())
    folder = "assets/nasc/"
    for changed, message in (
        ({f"{folder}model.onnx": b"another"}, f"{folder}model.onnx in {AAR} is not as nasc writes"),
        ({"proguard.txt": b"-dontwarn"}, "proguard.txt in"),
        ({"jni/arm64-v8a/lib.so": b"code"}, "holds other files"),
        ({"classes.jar": aar.archive({"evil/Main.class": CLASS})}, "evil/Main.class in classes"),
        ({"classes.jar": aar.archive({"nasc/encoder/A.class": b"dex\n"})}, "no class for Java 11"),
    ):
        (package / AAR).write_bytes(aar.archive(parts | changed))
        reseal(package)
        check = {one.name: one for one in verify_package(package).failed}["files beside the model"]
        assert message in check.detail
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("classes.jar", b"0" * 100_000)
    with pytest.raises(ValueError, match="a file in it is compressed"):
        aar.read_archive(content.getvalue())
    with pytest.raises(ValueError, match="it is no archive"):
        aar.read_archive(b"PK nothing")


def test_bytes_of_no_file_and_too_many_are_found(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and behind its files, in it and in the jar of its classes; larger than it can be."""
    content = (package / AAR).read_bytes()
    manifest = read_manifest(package)
    assert aar_folder.wrong_more(package, manifest) == []
    for around in (b"MZ" * 99 + content, content + b"behind"):
        (package / AAR).write_bytes(around)
        with contextlib.suppress(ValueError):  # of some, zipfile itself
            assert "bytes that are of no file" in aar_folder.wrong_more(package, manifest)[0]
    jar = b"before" + aar.read_archive(content)["classes.jar"]
    (package / AAR).write_bytes(aar.archive(aar_folder._files(package, jar)))
    (found,) = aar_folder.wrong_more(package, manifest)
    assert found == "bytes in classes.jar that are of no file, or laid out otherwise"
    monkeypatch.setattr(aar_folder, "MAX_CLASSES_BYTES", 0)
    (package / AAR).write_bytes(content + bytes(1 << 15))
    (found,) = aar_folder.wrong_more(package, manifest)
    assert found.startswith("nasc-encoder.aar holds ")
    assert found.endswith(" are read")


def test_files_that_share_bytes_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """zipfile of Python 3.11.7 reads such entries, each of them whole."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        made.writestr("a", bytes(1000))
        first = made.filelist[0]
        for number in range(9):
            other = zipfile.ZipInfo(f"b{number}")
            other.header_offset, other.file_size = first.header_offset, first.file_size
            other.compress_size, other.CRC = first.compress_size, first.CRC
            made.filelist.append(other)
            made.NameToInfo[other.filename] = other
        made._didModify = True
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *about: pytest.fail("it was read"))
    with pytest.raises(ValueError, match="its files share bytes"):
        aar.read_archive(content.getvalue())


def test_other_classes_than_the_sources_give_are_found(package: Path, classes: Path) -> None:
    manifest = read_manifest(package)
    assert aar_folder.run_more(package, manifest) == (True, "the tokens")
    (classes / "nasc" / "encoder" / "Tokenizer.class").write_bytes(CLASS + b"\0")
    held, why = aar_folder.run_more(package, manifest)
    assert held is False
    assert why == "its classes are others than kotlin-compiler 2.4.20 makes of the sources"
    parts = aar.read_archive((package / AAR).read_bytes())
    parts["classes.jar"] = aar.jar(classes, "kotlin-compiler 2.9.0")
    (package / AAR).write_bytes(aar.archive(parts))
    held, why = aar_folder.run_more(package, manifest)
    assert held is None
    assert "made by kotlin-compiler 2.9.0, and would be others by kotlin-compiler 2.4.20" in why


def test_without_kotlin_it_is_one_message_before_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kotlin_program, "java", lambda: "java")
    monkeypatch.delenv(COMPILER_VARIABLE, raising=False)
    with pytest.raises(PackageError, match=r"--format aar .*npm install kotlin-compiler.*--format"):
        aar_folder.check_compiler()


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("NASC_TEST_KOTLIN"), reason="takes long: NASC_TEST_KOTLIN=1")
def test_its_classes_are_those_that_the_tests_of_kotlin_run(
    build_app: Make, kotlin_classes: KotlinClasses, tmp_path: Path
) -> None:
    """The signatures that it is compiled against are those of the stand-ins, which are run."""
    package = build_app("aar")
    held, what = aar_folder.run_more(package, read_manifest(package))
    assert held is True, what
    assert "the tokens of 2,400 texts" in what
    assert (package / AAR).read_bytes() == (build_app("aar") / AAR).read_bytes()
    parts = aar.read_archive((package / AAR).read_bytes())
    for name, content in aar.read_archive(parts["classes.jar"]).items():
        if name != aar.JAR_MANIFEST and "Contents" not in name:
            assert (kotlin_classes.folder / name).read_bytes() == content, name


@pytest.mark.skipif(shutil.which("aapt2") is None, reason="needs aapt2 (Debian's package aapt)")
def test_android_s_own_tool_reads_its_manifest(tmp_path: Path) -> None:
    framework = Path("/usr/share/android-framework-res/framework-res.apk")
    if not framework.is_file():
        pytest.skip("needs Debian's package android-framework-res")
    parts = aar.library_files("nasc.encoder", b"", "", {})
    for name in ("AndroidManifest.xml",):
        (tmp_path / name).write_bytes(bytes(parts[name]))  # type: ignore[arg-type]
    app = tmp_path / "app.apk"
    command = ["aapt2", "link", "-o", str(app), "--manifest", str(tmp_path / "AndroidManifest.xml")]
    subprocess.run([*command, "-I", str(framework)], check=True)
    told = subprocess.run(
        ["aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", str(app)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert 'package="nasc.encoder"' in told
    assert "minSdkVersion" in told
    gradle = (android_folder.SOURCES / "build.gradle.kts").read_text()
    assert "minSdk = 24" in gradle
