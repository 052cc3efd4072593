"""The Kotlin of a package for Android, compiled and run on this machine where that can be.

What is compiled is nasc's own: who calls this has seen that the package's is the same. The runtime
of the model is where Android is, so that what runs here is the tokenizer.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from device_profiles.reading import read_json
from device_profiles.temporary import temporary_folder
from nasc.errors import PackageError
from nasc.package.installed import installed_program

COMPILER_VARIABLE = "NASC_KOTLIN_COMPILER"
"""Environment variable: the folder of Kotlin's compiler as npm installs it. Nothing is searched,
for what is found is run."""

KOTLIN = "2.4.20"
"""The release of npm's kotlin-compiler that packages were tested with."""

OLDEST_JAVA, OLDEST_KOTLIN = 11, 2
"""Their major releases."""

CHECK = Path(__file__).resolve().parent / "android_check.kt"
"""The program that prints what a package's tokenizer makes of its golden texts."""

TIMEOUT_S = 300.0
"""To compile takes 10 to 30 s of a core of 2026, the texts 1 s."""

_OWN_JARS = (
    "kotlin-compiler",
    "kotlin-stdlib",
    "kotlin-reflect",
    "kotlin-script-runtime",
    "kotlinx-coroutines-core-jvm",
)
"""What the compiler itself needs to run."""


def java() -> str | None:
    """The command of Java; None where it is missing or too old."""
    return installed_program("java", "-version", r'version "(\d+)', OLDEST_JAVA)


def compiler_folder() -> Path | None:
    """The folder that `COMPILER_VARIABLE` names; None where it names none.

    Raises:
        PackageError: If it is another package, or too old a release of it.
    """
    given = os.environ.get(COMPILER_VARIABLE)
    if not given:
        return None
    install = f"npm install kotlin-compiler@{KOTLIN}"
    try:
        found = read_json(Path(given) / "package.json", schema={"type": "object"})
    except (OSError, ValueError) as error:
        raise PackageError(
            f"{COMPILER_VARIABLE}={given}: there is no package of npm ({error}). Name the folder "
            f"node_modules/kotlin-compiler that {install} made"
        ) from error
    name, version = found.get("name"), str(found.get("version"))
    major = version.partition(".")[0]
    is_recent = major.isdecimal() and int(major) >= OLDEST_KOTLIN
    if name != "kotlin-compiler" or not is_recent:
        raise PackageError(
            f"{COMPILER_VARIABLE}={given}: it is {name} {version}, not kotlin-compiler "
            f"{OLDEST_KOTLIN} or newer: {install}"
        )
    return Path(given).resolve()


def release(compiler: Path) -> str:
    """Name and release of a compiler, which npm's package states."""
    found = read_json(compiler / "package.json", schema={"type": "object"})
    return f"{found.get('name')} {found.get('version')}"


def missing() -> str:
    """What is not at hand to compile and run Kotlin, and where it is had; empty if all is.

    Raises:
        PackageError: See `compiler_folder`.
    """
    if java() is None:
        return f"Java {OLDEST_JAVA} or newer is not installed"
    if compiler_folder() is None:
        return (
            f"Kotlin's compiler is not at hand: npm install kotlin-compiler@{KOTLIN}, and name its "
            f"folder, {COMPILER_VARIABLE}=node_modules/kotlin-compiler"
        )
    return ""


def compile_kotlin(
    command: str,
    compiler: Path,
    sources: Sequence[Path],
    classes: Path,
    libraries: Sequence[Path] = (),
    *,
    strict: bool = True,
    friend: Path | None = None,
) -> str:
    """Compile Kotlin.

    Args:
        command: Of Java.
        compiler: Folder of the compiler.
        sources: Files, and folders of more; Java among them is looked at, not compiled.
        classes: Folder that the classes are written to.
        libraries: What the sources use beside Kotlin's own library.
        strict: Whether a warning is wrong, too: other releases of Kotlin warn of other things.
        friend: Classes whose internal names the sources may use; None: of no others.

    Returns:
        What is wrong; empty if nothing is.
    """
    own = [] if friend is None else [friend]
    jars = [str(compiler / "lib" / f"{name}.jar") for name in _OWN_JARS]
    done = subprocess.run(
        [
            *(command, "-Xmx1g", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
            *("-cp", os.pathsep.join(jars), "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"),
            *(
                "-no-stdlib",
                "-no-reflect",
                *(["-Werror"] if strict else []),
                *([] if friend is None else [f"-Xfriend-paths={friend}"]),
                "-jvm-target",
                str(OLDEST_JAVA),
            ),
            *("-cp", os.pathsep.join(map(str, (library(compiler), *libraries, *own)))),
            *("-d", str(classes)),
            *map(str, sources),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    if done.returncode == 0:
        return ""
    lines = (done.stderr + done.stdout).strip().splitlines() or ["without a word"]
    return " ".join([line for line in lines if "error:" in line][:1] or lines[:1])


def library(compiler: Path) -> Path:
    """The library that compiled Kotlin needs to run."""
    return compiler / "lib" / "kotlin-stdlib.jar"


def run_class(command: str, compiler: Path, classes: Path, name: str, *arguments: str) -> str:
    """What a compiled program prints.

    Args:
        command: Of Java.
        compiler: Folder of the compiler.
        classes: Where the classes are.
        name: Of the class.
        arguments: Of the program.

    Raises:
        PackageError: If it fails; with the first line of why.
    """
    path = os.pathsep.join([str(classes), str(library(compiler))])
    done = subprocess.run(
        [command, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", path, name, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    if done.returncode != 0:
        raise PackageError(" ".join(done.stderr.strip().splitlines()[:1])[:300] or "without a word")
    return done.stdout


def run_in_java(folder: Path, sources: Sequence[str]) -> tuple[bool | None, str]:
    """Whether a package's Kotlin reproduces its golden tokens.

    Args:
        folder: The package.
        sources: Names of the files of it that need neither Android nor onnxruntime.

    Returns:
        True, False, or None where Java or Kotlin is missing; and what was found.

    Raises:
        PackageError: See `compiler_folder`.
    """
    if why := missing():
        return None, why
    command, compiler = java(), compiler_folder()
    assert command is not None
    assert compiler is not None
    with temporary_folder() as classes:
        try:
            files = [*(folder / name for name in sources), CHECK]
            problem = compile_kotlin(command, compiler, files, classes, strict=False)
            if problem:
                return False, f"it does not compile: {problem[:300]}"
            return check_tokens(command, compiler, classes, folder)
        except subprocess.TimeoutExpired:
            return False, f"it took longer than {TIMEOUT_S:g} s"


def check_tokens(command: str, compiler: Path, classes: Path, folder: Path) -> tuple[bool, str]:
    """See `run_in_java`, of classes that are compiled."""
    try:
        said = run_class(command, compiler, classes, "nasc.encoder.GoldenCheck", str(folder))
    except PackageError as error:
        return False, f"it failed: {error}"
    found: dict[str, Any] = json.loads(said)
    if found["wrong"]:
        return False, f"other tokens for {', '.join(map(repr, found['wrong']))}"
    return True, (
        f"the tokens of {found['texts']:,} texts; not its vectors: onnxruntime-android is for "
        "Android"
    )
