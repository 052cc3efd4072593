"""An npm package around onnxruntime-web: the model in ONNX, its tokenizer's tables, JavaScript.

The sources are nasc's own, the same for every network, but for `contents.js`, which holds the
hashes of what a page fetches.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from device_profiles.reading import read_json
from nasc.package.formats import onnx_folder
from nasc.package.formats.app_contents import (
    app_contents,
    check_vectors,
    write_tables,
    write_texts,
    wrong_texts,
)
from nasc.package.formats.base import QUERY, always_ready, as_it_is, no_refusal, no_session, no_text
from nasc.package.manifest import Manifest
from nasc.package.tokenizer_binary import FILE as TABLES
from nasc.package.tokenizer_golden import FILE as TOKENIZER_GOLDEN
from nasc.package.web_program import run_in_node
from profilers.browser.library import VERSION as ONNXRUNTIME_WEB
from profilers.runtimes import ONNXRUNTIME_WEB as IN_BROWSER

NAME = "ONNX for the web"
LOWERED_FOR = OPENED_BY = onnx_folder.OPENED_BY
MODEL = onnx_folder.MODEL
COMPANIONS = ()

SOURCES = Path(__file__).resolve().parent.parent / "web"

COPIED = (
    "model_files.js",
    "nasc.d.ts",
    "nasc.js",
    "tokenizer.js",
    "tokenizer_data.js",
    "tokenizer_normalise.js",
    "tokenizer_split.js",
    "tokenizer_words.js",
)
"""Sources that are the same in every package."""

CONTENTS, NPM = "contents.js", "package.json"
MORE_FILES = (*COPIED, CONTENTS, NPM, TABLES, TOKENIZER_GOLDEN)
OPTIONAL_FILES = ()
CODE = ""
PROGRAMS = "JavaScript"
VECTORS_ALONE = True
NEEDS = "node"

INTEGRITY = (
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJm"
    "g8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
"""What `npm view onnxruntime-web@1.30.0 dist.integrity` says: of `ONNXRUNTIME_WEB`, which packages
are made for and tested with. npm fetches it, it is not shipped: 14 MB of WebAssembly."""

PRECISIONS = onnx_folder.PRECISIONS
TOLERANCE = onnx_folder.TOLERANCE
"""The operators are those of onnxruntime, compiled for another processor."""

IMPORT = RUN = ""

NOT_PROMISED = "not promised in a browser, which runs another build, onnxruntime-web"
"""What such a folder says of its latency."""

load_lines = precision_note = other_libraries = other_languages = no_text
write_model = as_it_is
open_session = no_session
refusal = no_refusal
check_ready = always_ready
inspect = onnx_folder.inspect
"""See `PackageFormat`: the model is that of an ONNX folder."""


def own_usage(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    before = manifest.prompts.before
    texts = [before + text for text in ("A man is playing a guitar.", "Someone plays music.")]
    use = f"""\
const [a, b] = await encoder.embed({json.dumps(texts)});
console.log(encoder.similarity(a, b));
"""
    if manifest.query_only:
        use = f"""\
const [query] = await encoder.embed({json.dumps([before + QUERY])});
console.log(encoder.similarity(query, stored)); // yours: of a document, by the teacher
"""
    return f"""\
In an app that npm builds, or a page with an import map for `onnxruntime-web/wasm`:

```sh
npm install --install-links --save-exact THIS_FOLDER onnxruntime-web@{ONNXRUNTIME_WEB}
```

```js
import {{ NascEncoder }} from "nasc-encoder";

const encoder = await NascEncoder.load("/model/");
{use}await encoder.close();
```

`/model/` is where your server has `{MODEL}` and `{TABLES}` of this folder. Both are held to the
SHA-256 in `{CONTENTS}`, kept in the browser's Cache API, and taken up again where a connection
broke, if the server knows `Range`. `nasc.d.ts` says the rest: threads, WebGPU, progress, an end by
`AbortSignal`. Texts are cut to {manifest.max_length} tokens. The page must be served by https or
from localhost.

Threads need a page that is cross-origin isolated: serve it with
`Cross-Origin-Opener-Policy: same-origin` and `Cross-Origin-Embedder-Policy: require-corp`. Without
them one thread computes.

`{NPM}` names the one release of onnxruntime-web that this was tested with, and the hash that npm's
lock file must have for it. `{TOKENIZER_GOLDEN}` holds texts with the tokens that Hugging Face's
tokenizers gives for them: what any port of the tokenizer has to reproduce.

{_latency(manifest)}
"""


def _latency(manifest: Manifest) -> str:
    """What the README says of latency."""
    if manifest.conditions.runtime == IN_BROWSER:
        return """\
**The latency was measured in a browser**, without a window, on the machine that compiled this;
measurements.json names its version. It was started with `--js-flags=--wasm-sync-tier-up`, by which
WebAssembly that runs often is compiled for speed at once, and the model was run for a while before
anything was recorded: the first calls in an app are slower. A run's time has the copying of its
inputs and outputs. Other browsers and machines are as fast as they are."""
    return """\
**No latency is promised in a browser.** What was measured is the package that this lies beside, on
its device; a browser runs another build of onnxruntime, by other instructions. Figures of quality
are of this model file."""


def write_more(folder: Path, manifest: Manifest) -> None:
    """See `PackageFormat`: the sources, and the tokenizer's tables and golden texts."""
    check_vectors("web", manifest.head)
    write_tables(folder, TABLES)
    write_texts(folder, _texts(folder, manifest))


def wrong_more(folder: Path, manifest: Manifest) -> list[str]:
    """See `PackageFormat`; the tokenizer's files are held in a process of their own."""
    return wrong_texts(folder, _texts(folder, manifest))


def run_more(folder: Path, manifest: Manifest) -> tuple[bool | None, str]:
    """See `PackageFormat`: the golden texts by the package's own JavaScript, in node."""
    return run_in_node(folder, TOLERANCE[manifest.precision])


def _texts(folder: Path, manifest: Manifest) -> dict[str, str]:
    """The files of a package that are text, by name; its model and tables are there."""
    found = {name: (SOURCES / name).read_text(encoding="utf-8") for name in COPIED}
    contents = _contents(folder, manifest)
    npm: dict[str, Any] = read_json(SOURCES / NPM)
    npm["version"] = f"0.0.0-m{contents['model']['sha256'][:12]}"
    npm["dependencies"] = {"onnxruntime-web": ONNXRUNTIME_WEB}
    npm["nasc"] = {"integrity": {f"onnxruntime-web@{ONNXRUNTIME_WEB}": INTEGRITY}}
    return found | {
        CONTENTS: "// SPDX-License-Identifier: Apache-2.0\n"
        "// Written by nasc compile: what a page fetches of this package, and how it runs.\n"
        f"export const CONTENTS = Object.freeze({json.dumps(contents, indent=2)});\n",
        NPM: json.dumps(npm, indent=2) + "\n",
    }


def _contents(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """What `CONTENTS` of nasc.d.ts is."""
    said = app_contents(folder, manifest, MODEL, TABLES)
    files = {"model": said.model, "tokenizer": said.tokenizer}
    return {
        **{
            key: {"name": one.name, "size": one.size_bytes, "sha256": one.sha256}
            for key, one in files.items()
        },
        "dimensions": said.dimensions,
        "maxLength": said.max_length,
        "padToken": said.pad_token,
        "shape": None if said.shape is None else list(said.shape),
        "output": said.output,
        "precision": said.precision,
        "threads": said.threads,
        "runtime": {"version": ONNXRUNTIME_WEB, "integrity": INTEGRITY},
    }
