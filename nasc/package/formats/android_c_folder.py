"""A module for Android apps with the network as C code: there is no runtime to download.

That is the library of `c_folder` for the processors of phones and emulators, its weights linked in,
what Java calls of it, and the tokenizer in Kotlin, with all that Gradle builds it by.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

from nasc.package.formats import android_folder, c_package
from nasc.package.formats.android_folder import (
    ENCODER,
    TOKENIZER_ALONE,
    kotlin_contents,
    kotlin_use,
)
from nasc.package.formats.app_contents import (
    check_vectors,
    write_tables,
    write_texts,
    wrong_texts,
)
from nasc.package.formats.base import ModelFile, as_it_is, no_text
from nasc.package.formats.c_folder import COPIED as LIBRARY
from nasc.package.formats.c_folder import KERNELS
from nasc.package.kotlin_program import run_in_java
from nasc.package.manifest import Manifest
from nasc.package.tokenizer_golden import FILE as TOKENIZER_GOLDEN

NAME = "C library for Android"
LOWERED_FOR, OPENED_BY = c_package.LOWERED_FOR, c_package.OPENED_BY

SOURCES = Path(__file__).resolve().parent.parent / "android_c"

C_FOLDER = "src/main/cpp/nasc"
"""Where the library is in a package."""

MODEL = f"{C_FOLDER}/{c_package.MODEL}"
TABLES = android_folder.TABLES
CONTENTS = android_folder.CONTENTS
COMPANIONS = ()

COPIED = (
    "build.gradle.kts",
    "consumer-rules.pro",
    "src/main/AndroidManifest.xml",
    "src/main/cpp/CMakeLists.txt",
    "src/main/cpp/nasc_jni.c",
    "src/main/kotlin/nasc/encoder/AppNetwork.kt",
    "src/main/kotlin/nasc/encoder/NativeLibrary.kt",
    "src/main/kotlin/nasc/encoder/NativeNetwork.kt",
    "src/test/kotlin/nasc/encoder/GoldenTest.kt",
)
"""Sources of such packages alone; others are those of `android_folder` and `c_folder`."""

_SHARED = (ENCODER, *TOKENIZER_ALONE)
"""Sources that are those of `android_folder`."""

MORE_FILES = (
    *COPIED,
    *_SHARED,
    *(f"{C_FOLDER}/{name}" for name in LIBRARY),
    CONTENTS,
    TABLES,
    TOKENIZER_GOLDEN,
)

PROCESSORS = {
    "aarch64": ("asimd", "fp", "asimddp"),
    "x86_64": ("avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"),
}
"""By processor what code is made for, as Linux calls it: phones of 2018 and later (armv8.2 with its
dot product), and emulators on any computer of that age."""

C_PROCESSORS = tuple({"arch": arch, "flags": flags} for arch, flags in PROCESSORS.items())
SAME_CODE = False
"""See `CFormat`."""

PRECISIONS = ("fp32", "int8")
"""In which there are kernels for all of them."""

OPTIONAL_FILES = (
    *(f"{C_FOLDER}/{name}" for name in c_package.OPTIONAL_FILES),
    *(f"{C_FOLDER}/{c_package.described(arch)}" for arch in PROCESSORS),
)

CODE = c_package.CODE
PROGRAMS = "Kotlin"
VECTORS_ALONE = True
NEEDS = "Gradle and Android's NDK"
TOLERANCE = c_package.TOLERANCE
IMPORT = RUN = ""

NOT_PROMISED = "not promised on a phone, whose processor is another"
"""What such a folder says of its latency."""

load_lines = precision_note = other_libraries = other_languages = no_text
write_model = as_it_is
open_session = c_package.open_session
check_ready = c_package.check_ready
refusal = c_package.refusal
"""See `PackageFormat`: the code for this machine is that of a folder of C."""


def own_usage(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    use = kotlin_use(manifest)
    others = [
        arch for arch in PROCESSORS if f"{C_FOLDER}/{c_package.described(arch)}" in manifest.files
    ]
    ran = " and ".join(arch for arch in PROCESSORS if arch not in others)
    unrun = " and ".join(others) or "others"
    return f"""\
A module for an app that Gradle builds with the Android plugin 9 or newer and Android's NDK. Copy
this folder beside the app's module as `nasc-encoder`, and write

```kotlin
include(":nasc-encoder")                                // settings.gradle.kts
dependencies {{ implementation(project(":nasc-encoder")) }}  // build.gradle.kts of the app
```

```kotlin
import nasc.encoder.NascEncoder

val encoder = NascEncoder.create(context)
{use}encoder.close()
```

The calls are those of the module around onnxruntime; the network is machine code, `{KERNELS}` in a
folder for each processor, and C, which CMake makes `libnasc_jni.so` of, weights included: nothing
is downloaded, opened or copied. To link it is to run it. `arm64-v8a` needs a processor with the dot
product of armv8.2 (2018), `x86_64` one with AVX2: elsewhere `create` is an `IllegalStateException`.
Texts are cut to {manifest.max_length} tokens. All encoders of an app that are open at once share
one library, and take the same number of threads.

Of this, the library in C was run, on the texts of `golden.json`, and where Java and Kotlin's
compiler were at hand the tokenizer in Kotlin, on those of `{TOKENIZER_GOLDEN}`. The functions that
Java calls are compiled and run by nasc's own tests alone, with another network, on a computer's
Java. **Not run: Gradle, the NDK, R8, an app, a phone.**

**No latency is promised on a phone.** What was measured is the package that this lies beside, on
its device. Parity and conformance are of the code for {ran}, which was run; that for {unrun}
was compiled and not run. Figures of quality are of the code that was run, too, unless it is in
fp32, where they are those of the package, whose vectors are the same to {c_package.AGREEMENT:g}.
"""


def write_more(folder: Path, manifest: Manifest) -> None:
    """See `PackageFormat`: the sources, and the tokenizer's tables and golden texts."""
    check_vectors("android-c", manifest.head)
    write_tables(folder, TABLES)
    write_texts(folder, _texts(folder, manifest))


def wrong_more(folder: Path, manifest: Manifest) -> list[str]:
    """See `PackageFormat`; the tokenizer's files are held in a process of their own."""
    problems = wrong_texts(folder, _texts(folder, manifest))
    problems += [f"{C_FOLDER}/{one}" for one in c_package.wrong_sources(folder / C_FOLDER)]
    found = {description.arch for description in _descriptions(folder / MODEL)}
    for name in manifest.files:
        path = PurePosixPath(name)
        arch = path.parent.name
        if name in OPTIONAL_FILES and arch in PROCESSORS and arch not in found:
            problems.append(f"{name}, which no description is of")
    return problems


def run_more(folder: Path, manifest: Manifest) -> tuple[bool | None, str]:
    """See `PackageFormat`: the tokens of the golden texts by the package's own Kotlin."""
    return run_in_java(folder, (*TOKENIZER_ALONE, CONTENTS))


def inspect(path: Path) -> ModelFile:
    """See `PackageFormat`. Code is read, never linked.

    Args:
        path: The description of the code for the machine that wrote it; others lie beside it.

    Raises:
        OSError, FileRefused: If a file cannot be read.
        ValueError: If a file is not the one that its description is of, or descriptions are of two
            networks.
    """
    first, *others = (c_package.inspect(one.path) for one in _descriptions(path))
    for one in others:
        same = (one.architecture, one.head, one.shape, one.outputs, one.computed_in)
        if same != (first.architecture, first.head, first.shape, first.outputs, first.computed_in):
            raise ValueError("the code for two processors is of two networks")
    return dataclasses.replace(
        first,
        size_bytes=first.size_bytes + sum(one.size_bytes for one in others),
        unexpected=(*first.unexpected, *(text for one in others for text in one.unexpected)),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Description:
    """A description that is there, and the processor that it is of."""

    path: Path
    arch: str


def _descriptions(path: Path) -> list[_Description]:
    """Those beside the first one, which comes first.

    Raises:
        OSError, FileRefused, ValueError: If the code that one is of is not where its name says.
    """
    found = [_Description(path, c_package.arch_of(path))]
    for arch in PROCESSORS:
        other = path.with_name(c_package.described(arch))
        if other.exists():
            if c_package.arch_of(other) != arch or arch == found[0].arch:
                raise ValueError(f"{other.name} is of another processor than it says")
            found.append(_Description(other, arch))
    return found


def _texts(folder: Path, manifest: Manifest) -> dict[str, str]:
    """The files of a package that are text, by name, those of the library in C aside."""
    found = {name: (SOURCES / name).read_text(encoding="utf-8") for name in COPIED}
    for name in _SHARED:
        found[name] = (android_folder.SOURCES / name).read_text(encoding="utf-8")
    return found | {CONTENTS: kotlin_contents(folder, manifest, MODEL)}
