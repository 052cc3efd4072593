"""A Swift package for iOS apps around onnxruntime's own: the model in ONNX, its tokenizer in C.

The sources are nasc's own, the same for every network, but for `Contents.swift`, which holds the
hashes of what is loaded. The tokenizer is the port that C packages ship.
"""

from __future__ import annotations

from pathlib import Path

from nasc.package.formats import onnx_folder
from nasc.package.formats.app_contents import (
    AppFile,
    app_contents,
    check_vectors,
    write_tables,
    write_texts,
    wrong_texts,
)
from nasc.package.formats.base import (
    QUERY,
    always_ready,
    as_it_is,
    no_refusal,
    no_session,
    no_text,
    nothing_run,
)
from nasc.package.manifest import Manifest
from nasc.package.tokenizer_binary import FILE
from nasc.package.tokenizer_golden import FILE as TOKENIZER_GOLDEN

NAME = "ONNX for iOS"
LOWERED_FOR = OPENED_BY = onnx_folder.OPENED_BY

_PACKAGE = Path(__file__).resolve().parent.parent
SOURCES = _PACKAGE / "ios"
C_SOURCES = _PACKAGE / "c"

_C = "Sources/NascTokenizer"
_SWIFT = "Sources/NascEncoder"

MODEL = f"{_SWIFT}/Resources/{onnx_folder.MODEL}"
TABLES = f"{_SWIFT}/Resources/{FILE}"
COMPANIONS = ()

CONTENTS = f"{_SWIFT}/Contents.swift"

COPIED = (
    "Package.swift",
    f"{_SWIFT}/ModelContents.swift",
    f"{_SWIFT}/NascEncoder.swift",
    f"{_SWIFT}/Tokenizer.swift",
    f"{_C}/include/module.modulemap",
    "Tests/NascEncoderTests/GoldenTests.swift",
)
"""Sources of Swift that are the same in every package."""

FROM_C = {
    f"{_C}/tokenizer.c": "tokenizer.c",
    f"{_C}/tokenizer_normalise.c": "tokenizer_normalise.c",
    f"{_C}/tokenizer_open.c": "tokenizer_open.c",
    f"{_C}/tokenizer_split.c": "tokenizer_split.c",
    f"{_C}/tokenizer_steps.h": "tokenizer_steps.h",
    f"{_C}/tokenizer_text.c": "tokenizer_text.c",
    f"{_C}/tokenizer_text.h": "tokenizer_text.h",
    f"{_C}/tokenizer_words.c": "tokenizer_words.c",
    f"{_C}/include/tokenizer.h": "tokenizer.h",
    f"{_C}/include/tokenizer_data.h": "tokenizer_data.h",
}
"""Sources of the tokenizer, by where they are in a package; Swift sees those in include/."""

MORE_FILES = (*COPIED, *FROM_C, CONTENTS, TABLES, TOKENIZER_GOLDEN)
OPTIONAL_FILES = ()
CODE = ""
PROGRAMS = ""
VECTORS_ALONE = True
NEEDS = "Xcode"

ONNXRUNTIME_SWIFT = "1.24.2"
"""The release of onnxruntime-swift-package-manager that `Package.swift` asks for; Xcode gets it."""

PRECISIONS = onnx_folder.PRECISIONS
TOLERANCE = onnx_folder.TOLERANCE
"""The operators are those of onnxruntime, compiled for another processor."""

IMPORT = RUN = ""

NOT_PROMISED = "not promised in an app, which runs another build, onnxruntime's Swift package"
"""What such a folder says of its latency."""

load_lines = precision_note = other_libraries = other_languages = no_text
write_model = as_it_is
open_session = no_session
refusal = no_refusal
check_ready = always_ready
run_more = nothing_run
inspect = onnx_folder.inspect
"""See `PackageFormat`: the model is that of an ONNX folder."""


def own_usage(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    before = manifest.prompts.before
    a, b = (
        swift_text(before + text) for text in ("A man is playing a guitar.", "Someone plays music.")
    )
    use = f"""\
let a = try encoder.embed({a})
let b = try encoder.embed({b})
print(encoder.similarity(a, b))
"""
    if manifest.query_only:
        use = f"""\
let query = try encoder.embed({swift_text(before + QUERY)})
print(encoder.similarity(query, document)) // yours: a document's [Float], by the teacher
"""
    return f"""\
A Swift package: in Xcode, File, Add Package Dependencies, Add Local, and this folder; add the
library `NascEncoder` to the app's target.

```swift
import NascEncoder

let encoder = try NascEncoder()
{use}encoder.close()
```

Every call may come from any thread, and computes on that: call none of them on the main thread.
`embedBatch` takes several texts. Texts are cut to {manifest.max_length} tokens.
`NascEncoder(threads:)` takes another number of threads than {manifest.conditions.threads}, which
this was measured with. `Package.swift` asks for release {ONNXRUNTIME_SWIFT} of onnxruntime's Swift
package, which Xcode fetches.

**No Swift compiler has seen this.** It was written against the headers of onnxruntime's Objective-C
interface on a machine without one. What was tested is the tokenizer in C, which is compiled for
iOS, too, and the model, which gives the vectors of `golden.json` by onnxruntime in Python. Before
you count on it, run its own tests: open the folder in Xcode and test `NascEncoder-Package` in a
simulator; they hold tokens and vectors to `{TOKENIZER_GOLDEN}` and `golden.json`.

**No latency is promised in an app.** What was measured is the package that this lies beside, on its
device; an app runs another build of onnxruntime. Figures of quality are of this model file.
"""


def write_more(folder: Path, manifest: Manifest) -> None:
    """See `PackageFormat`: the sources, and the tokenizer's tables and golden texts."""
    check_vectors("ios", manifest.head)
    write_tables(folder, TABLES)
    write_texts(folder, _texts(folder, manifest))


def wrong_more(folder: Path, manifest: Manifest) -> list[str]:
    """See `PackageFormat`; the tokenizer's files are held in a process of their own."""
    return wrong_texts(folder, _texts(folder, manifest))


def _texts(folder: Path, manifest: Manifest) -> dict[str, str]:
    """The files of a package that are text, by name; its model and tables are there."""
    found = {name: (SOURCES / name).read_text(encoding="utf-8") for name in COPIED}
    found |= {n: (C_SOURCES / own).read_text(encoding="utf-8") for n, own in FROM_C.items()}
    return found | {CONTENTS: _contents(folder, manifest)}


def _contents(folder: Path, manifest: Manifest) -> str:
    """`Contents.swift`."""
    said = app_contents(folder, manifest, MODEL, TABLES)
    rows, tokens = said.shape or (0, 0)
    return f"""\
// SPDX-License-Identifier: Apache-2.0
// Written by nasc compile: what an app loads of this package, and how it runs.

let contents = ModelContents(
    model: {_record(said.model)},
    tokenizer: {_record(said.tokenizer)},
    dimensions: {said.dimensions},
    maxLength: {said.max_length},
    padToken: {said.pad_token},
    rows: {rows},
    tokens: {tokens},
    output: {swift_text(said.output)},
    threads: {said.threads}
)
"""


def _record(file: AppFile) -> str:
    return f"""FileRecord(
        name: "{file.name}", sizeBytes: {file.size_bytes},
        sha256: "{file.sha256}"
    )"""


def swift_text(text: str) -> str:
    """A text as Swift writes it: letters as they are, what would end or break it escaped."""
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return (
        '"'
        + "".join(
            escapes.get(char, char if char.isprintable() else f"\\u{{{ord(char):x}}}")
            for char in text
        )
        + '"'
    )
