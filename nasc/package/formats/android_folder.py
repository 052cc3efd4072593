"""A module for Android apps around onnxruntime-android, with all that Gradle builds it by.

That is the model in ONNX, its tokenizer's tables and Kotlin. The sources are nasc's own, the same
for every network, but for `Contents.kt`, which holds the hashes of what is loaded.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from nasc.package.formats import onnx_folder
from nasc.package.formats.app_contents import (
    AppFile,
    app_contents,
    check_vectors,
    write_tables,
    write_texts,
    wrong_texts,
)
from nasc.package.formats.base import QUERY, always_ready, as_it_is, no_refusal, no_session, no_text
from nasc.package.kotlin_program import run_in_java
from nasc.package.manifest import Manifest
from nasc.package.tokenizer_binary import FILE
from nasc.package.tokenizer_golden import FILE as TOKENIZER_GOLDEN

NAME = "ONNX for Android"
LOWERED_FOR = OPENED_BY = onnx_folder.OPENED_BY

SOURCES = Path(__file__).resolve().parent.parent / "android"

_ASSETS = "src/main/assets/nasc"
_MAIN = "src/main/kotlin/nasc/encoder"
_TEST = "src/test/kotlin/nasc/encoder"

MODEL = f"{_ASSETS}/{onnx_folder.MODEL}"
TABLES = f"{_ASSETS}/{FILE}"
COMPANIONS = ()

CONTENTS = f"{_MAIN}/Contents.kt"

ENCODER = f"{_MAIN}/NascEncoder.kt"
"""What an app calls, whatever runs the network."""

READERS = (f"{_TEST}/GoldenFiles.kt", f"{_TEST}/Json.kt")
"""What reads golden files in tests."""

TOKENIZER_ALONE = (
    f"{_MAIN}/ModelContents.kt",
    f"{_MAIN}/TextEncoder.kt",
    f"{_MAIN}/Tokenizer.kt",
    f"{_MAIN}/TokenizerBytes.kt",
    f"{_MAIN}/TokenizerData.kt",
    f"{_MAIN}/TokenizerNormalise.kt",
    f"{_MAIN}/TokenizerSplit.kt",
    f"{_MAIN}/TokenizerTables.kt",
    f"{_MAIN}/TokenizerWords.kt",
    *READERS,
)
"""Kotlin that needs neither Android nor what runs the network."""

ALONE = (*TOKENIZER_ALONE, f"{_MAIN}/ModelCopy.kt")
"""Of this package."""

COPIED = (
    "build.gradle.kts",
    "consumer-rules.pro",
    "src/main/AndroidManifest.xml",
    *ALONE,
    f"{_MAIN}/AppNetwork.kt",
    ENCODER,
    f"{_MAIN}/OnnxNetwork.kt",
    f"{_TEST}/GoldenTest.kt",
)
"""Sources that are the same in every package."""

MORE_FILES = (*COPIED, CONTENTS, TABLES, TOKENIZER_GOLDEN)
OPTIONAL_FILES = ()
CODE = ""
PROGRAMS = "Kotlin"
VECTORS_ALONE = True
NEEDS = "Gradle"

ONNXRUNTIME_ANDROID = "1.29.0"
"""The release that `build.gradle.kts` asks for. It is fetched by Gradle, not shipped."""

PRECISIONS = onnx_folder.PRECISIONS
TOLERANCE = onnx_folder.TOLERANCE
"""The operators are those of onnxruntime, compiled for another processor."""

IMPORT = RUN = ""

NOT_PROMISED = "not promised in an app, which runs another build, onnxruntime-android"
"""What such a folder says of its latency."""

load_lines = precision_note = other_libraries = other_languages = no_text
write_model = as_it_is
open_session = no_session
refusal = no_refusal
check_ready = always_ready
inspect = onnx_folder.inspect
"""See `PackageFormat`: the model is that of an ONNX folder."""


def kotlin_use(manifest: Manifest) -> str:
    """The lines of Kotlin that compare two vectors, of READMEs."""
    before = manifest.prompts.before
    if manifest.query_only:
        return f"""\
val query = encoder.embed({kotlin_text(before + QUERY)})
println(encoder.similarity(query, document)) // yours: a document's FloatArray, by the teacher
"""
    a, b = (
        kotlin_text(before + text)
        for text in ("A man is playing a guitar.", "Someone plays music.")
    )
    return f"""\
val a = encoder.embed({a})
val b = encoder.embed({b})
println(encoder.similarity(a, b))
"""


def own_usage(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    return module_usage(manifest, MODEL)


def module_usage(manifest: Manifest, model: str, more: str = "") -> str:
    """How an app is built with a module around onnxruntime-android.

    Args:
        manifest: Of the package.
        model: Name of the model's file in it.
        more: Of the model, as paragraphs.
    """
    use, ending = kotlin_use(manifest), PurePosixPath(model).suffix[1:]
    return f"""\
A module for an app that Gradle builds with the Android plugin 9 or newer. Copy this folder beside
the app's module as `nasc-encoder`, and write

```kotlin
include(":nasc-encoder")                            // settings.gradle.kts

android {{ androidResources {{ noCompress += "{ending}" }} }}  // build.gradle.kts of the app
dependencies {{ implementation(project(":nasc-encoder")) }}
```

```kotlin
import nasc.encoder.NascEncoder

val encoder = NascEncoder.create(context)
{use}encoder.close()
```

Every call may come from any thread, and computes on that: call none of them on the thread that
draws. With coroutines: `withContext(Dispatchers.Default) {{ encoder.embedBatch(texts) }}`. `close`
waits for calls that run. Texts are cut to {manifest.max_length} tokens; one with a lone surrogate,
which is no character, is a `TokenizerException`. `create(context, threads)` takes another number of
threads than {manifest.conditions.threads}, which this was measured with.

Without `noCompress` the app's archive holds the model compressed: then it is copied once into
`noBackupFilesDir`, checked by its SHA-256, and mapped from there.
{more}
With the Android plugin 8 the module also needs `id("org.jetbrains.kotlin.android")` among its
plugins and `kotlin {{ jvmToolchain(17) }}`. `build.gradle.kts` asks for onnxruntime-android
{ONNXRUNTIME_ANDROID}.

Of this, the tokenizer, the encoder around it and the copying were compiled and run on a computer's
Java, on the texts of `{TOKENIZER_GOLDEN}` and `golden.json`, with onnxruntime in Python for the
network; `NascEncoder.kt`, `AppNetwork.kt` and `OnnxNetwork.kt` against stand-ins for Android's and
onnxruntime's classes. **Not run: Gradle, R8, an app, a phone, onnxruntime-android.** What your
build makes of it, `./gradlew :nasc-encoder:testDebugUnitTest` says on your computer: it holds
tokens and vectors to the golden files.

**No latency is promised in an app.** What was measured is the package that this lies beside, on its
device; an app runs another build of onnxruntime. Figures of quality are of this model file.
"""


def write_more(folder: Path, manifest: Manifest) -> None:
    """See `PackageFormat`: the sources, and the tokenizer's tables and golden texts."""
    check_vectors("android", manifest.head)
    write_tables(folder, TABLES)
    write_texts(folder, texts(folder, manifest, MODEL))


def wrong_more(folder: Path, manifest: Manifest) -> list[str]:
    """See `PackageFormat`; the tokenizer's files are held in a process of their own."""
    return wrong_texts(folder, texts(folder, manifest, MODEL))


def run_more(folder: Path, manifest: Manifest) -> tuple[bool | None, str]:
    """See `PackageFormat`: the tokens of the golden texts by the package's own Kotlin."""
    return run_in_java(folder, (*ALONE, CONTENTS))


def texts(folder: Path, manifest: Manifest, model: str) -> dict[str, str]:
    """The files of a package that are text, by name; its model and tables are there.

    Args:
        folder: The package.
        manifest: Of it.
        model: Name of the model's file in it.
    """
    found = {name: (SOURCES / name).read_text(encoding="utf-8") for name in COPIED}
    return found | {CONTENTS: kotlin_contents(folder, manifest, model)}


def kotlin_contents(folder: Path, manifest: Manifest, model: str, tables: str = TABLES) -> str:
    """The text of `Contents.kt`, of a package whose model and tables are written.

    Args:
        folder: The package.
        manifest: Of it.
        model: Name of the model's file in it.
        tables: Name of the file of the tokenizer's tables in it.
    """
    said = app_contents(folder, manifest, model, tables)
    rows, tokens = said.shape or (0, 0)
    return f"""\
// SPDX-License-Identifier: Apache-2.0
// Written by nasc compile: what an app loads of this package, and how it runs.

package nasc.encoder

internal val CONTENTS = ModelContents(
    model = {_record(said.model)},
    tokenizer = {_record(said.tokenizer)},
    dimensions = {said.dimensions},
    maxLength = {said.max_length},
    padToken = {said.pad_token},
    rows = {rows},
    tokens = {tokens},
    output = {kotlin_text(said.output)},
    threads = {said.threads},
)
"""


def _record(file: AppFile) -> str:
    return f'AssetRecord("{file.name}", {file.size_bytes}L, "{file.sha256}")'


def kotlin_text(text: str) -> str:
    """A text as Kotlin writes it: JSON's escapes but for two, and no templates."""
    quoted = json.dumps(text).replace("$", "\\$")
    return quoted.replace("\\f", "\\u000c")
