"""The Kotlin of Android packages, compiled once a run, and run with Python's onnxruntime."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import filelock
import numpy as np
import onnxruntime as ort
import pytest

from nasc.package.formats import android_c_folder
from nasc.package.formats.android_folder import CONTENTS, MODEL, SOURCES
from nasc.package.kotlin_program import (
    CHECK,
    COMPILER_VARIABLE,
    KOTLIN,
    compile_kotlin,
    compiler_folder,
    java,
    library,
)

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "android"
HERE = Path(__file__).parent / "integration" / "package" / "kotlin"


@dataclass(frozen=True, slots=True)
class KotlinClasses:
    """What was compiled.

    Attributes:
        java: The command.
        compiler: Folder of Kotlin's compiler.
        folder: Where the classes are.
    """

    java: str
    compiler: Path
    folder: Path

    def command(self, name: str, *flags: str) -> list[str]:
        """The command of a class of the package nasc.encoder, with flags of Java's."""
        path = os.pathsep.join([str(self.folder), str(library(self.compiler))])
        usual = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
        return [self.java, *usual, *flags, "-cp", path, f"nasc.encoder.{name}"]


def compiled(root: Path, package: Path) -> KotlinClasses:
    """All Kotlin of a package, its tests and the drivers, against the stand-ins.

    Args:
        root: Folder that all processes of a run share, with equal packages.
        package: For Android.
    """
    command = java()
    if command is None or shutil.which("javac") is None:
        pytest.skip("needs a JDK (Debian's package default-jdk-headless)")
    compiler = compiler_folder()
    if compiler is None:
        pytest.skip(f"needs npm install kotlin-compiler@{KOTLIN}, its folder: {COMPILER_VARIABLE}")
    classes = root / "kotlin-classes"
    with filelock.FileLock(root / "kotlin.lock"):
        if not classes.exists():
            made = root / "kotlin-made"
            made.mkdir()
            stand_ins = sorted(map(str, HERE.glob("doubles/**/*.java")))
            subprocess.run(["javac", "-d", str(made), *stand_ins], check=True)
            sources = [*SOURCES.glob("src/**/*.kt"), *HERE.glob("*.kt"), CHECK, HERE / "doubles"]
            sources += [package / CONTENTS, example(root), *in_c(root)]
            sources += sorted((EXAMPLE / "app" / "src" / "main" / "kotlin").glob("**/*.kt"))
            coroutines = compiler / "lib" / "kotlinx-coroutines-core-jvm.jar"
            problem = compile_kotlin(command, compiler, sources, made, [coroutines])
            assert not problem
            made.rename(classes)
    return KotlinClasses(command, compiler, classes)


def in_c(root: Path) -> list[Path]:
    """The Kotlin of packages in C, with another name for what both kinds of packages have."""
    sources = sorted(android_c_folder.SOURCES.glob("src/main/**/*.kt"))
    path = root / "AppNetworkInC.kt"
    (own,) = (source for source in sources if source.name == "AppNetwork.kt")
    text = own.read_text(encoding="utf-8").replace("networkOf", "networkInC")
    path.write_text(text, encoding="utf-8")
    return [path, *(source for source in sources if source != own)]


def example(root: Path) -> Path:
    """The lines of docs/apps.md that use the encoder, as a file to compile."""
    lines = (HERE.parents[3] / "docs" / "apps.md").read_text(encoding="utf-8").splitlines()
    first = lines.index("   import nasc.encoder.NascEncoder")
    last = lines.index("   ```", first)
    path = root / "Example.kt"
    imports = ["android.content.Context", "kotlinx.coroutines.Dispatchers"]
    imports.append("kotlinx.coroutines.withContext")
    text = [*(f"import {name}" for name in imports), *lines[first:last]]
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def run_encoder(classes: KotlinClasses, package: Path, place: Path) -> dict[str, str]:
    """What EncoderDriver.kt finds, whose network is run here.

    Args:
        classes: Compiled of this package.
        package: For Android.
        place: An empty folder.
    """
    found, files = place / "found.txt", place / "files"
    arguments = [*classes.command("EncoderDriver"), str(package), str(found), str(files)]
    session = ort.InferenceSession(package / MODEL, providers=["CPUExecutionProvider"])
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        while _answer(process.stdout, process.stdin, session):
            pass
    assert process.returncode == 0
    rows = (line.split("\t") for line in found.read_text(encoding="utf-8").splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2}


def _answer(requests: IO[bytes], answers: IO[bytes], session: ort.InferenceSession) -> bool:
    """Run the network once, as OrtSession.java asks for it; False at the end."""
    head = requests.read(2)
    if not head:
        return False
    output = requests.read(int.from_bytes(head, "big")).decode()
    rows, tokens = struct.unpack(">2q", requests.read(16))
    size = 8 * rows * tokens
    ids, mask = (
        np.frombuffer(requests.read(size), ">i8").astype(np.int64).reshape(rows, tokens)
        for _ in "12"
    )
    (vectors,) = session.run([output], {"input_ids": ids, "attention_mask": mask})
    data = np.asarray(vectors, ">f4").tobytes()
    answers.write(struct.pack(">i", len(data) // 4) + data)
    answers.flush()
    return True
