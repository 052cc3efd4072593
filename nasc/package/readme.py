"""README.md of a package: what it is, its key figures, and the lines that use it."""

from __future__ import annotations

from nasc.export.parity import Int8Report, Parity
from nasc.package.manifest import Manifest

_USE = {
    "embed": (
        "print(vectors @ vectors.T)  # cosine similarities: the vectors have length 1",
        "vectors",
    ),
    "hidden": (
        "print(states.shape)  # (sentence, token, hidden); padding holds arbitrary values",
        "states",
    ),
}


def usage(manifest: Manifest) -> str:
    """The lines of Python that use a package, run inside its folder."""
    last, name = _USE[manifest.head]
    return f"""\
import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")  # cuts texts to {manifest.max_length} tokens
tokenizer.enable_padding()
options = ort.SessionOptions()
options.intra_op_num_threads = {manifest.conditions.threads}
session = ort.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])
batch = tokenizer.encode_batch(["A man is playing a guitar.", "Someone plays an instrument."])
ids = np.array([text.ids for text in batch], np.int64)
mask = np.array([text.attention_mask for text in batch], np.int64)
{name} = session.run(None, {{"input_ids": ids, "attention_mask": mask}})[0]
{last}
"""


def readme(manifest: Manifest) -> str:
    """The text of README.md."""
    figures = "\n".join(f"| {name} | {value} |" for name, value in _figures(manifest))
    if manifest.architecture.is_teacher:
        what = f"The full-size network of {manifest.teacher.name} in {manifest.precision}"
        used = "Checked on"
    else:
        what = f"A smaller network that follows {manifest.teacher.name}"
        used = "Trained on"
    return f"""\
# A text encoder, compiled by NASC

{what}: `{manifest.architecture}`.

## Use it

In this folder, with onnxruntime, tokenizers and numpy installed:

```python
{usage(manifest)}```

## Figures

| | |
|---|---|
{figures}

Latency is about: {manifest.conditions}.

{used}: {manifest.text.description}.

manifest.json holds the evidence: raw samples, conditions, versions, hashes. Check it all
again, and on the device it was made for the latency too, with `nasc verify` and the path of
this folder. golden.json holds texts with the token ids and vectors that any port of the
tokenizer and the model has to reproduce.
"""


def _figures(manifest: Manifest) -> list[tuple[str, str]]:
    found = [(f"limit: {name}", f"{value:,g}") for name, value in manifest.limits.items()]
    if manifest.measured is not None:
        model = manifest.measured.model
        found += [
            ("latency, measured (ms)", f"{model.latency_ms:.2f}"),
            ("its upper bound (one-sided 95%, ms)", f"{model.upper_ms:.2f}"),
            (
                "as observed: p50, p90, p99 (ms)",
                f"{model.p50_ms:.2f}, {model.p90_ms:.2f}, {model.p99_ms:.2f}",
            ),
        ]
    if manifest.predicted is not None:
        p = manifest.predicted
        found.append(
            ("latency, predicted (ms)", f"{p.latency_ms:.2f} ({p.low_ms:.2f} to {p.high_ms:.2f})")
        )
    if manifest.tokenisation_ms is not None:
        found.append(("tokenisation, beside it (ms)", f"{manifest.tokenisation_ms:.2f}"))
    found += [
        ("size of model.onnx (bytes)", f"{manifest.size_bytes:,}"),
        ("parameters", f"{manifest.params:,}"),
    ]
    memory = manifest.peak_memory.measured_bytes
    if memory is not None:
        found.append(("peak memory of a process that runs it (bytes)", f"{memory:,}"))
    for name, value in manifest.quality.items():
        text = f"{value:.4f}" if isinstance(value, float) else str(value)
        found.append((f"quality: {name.replace('_', ' ')}", text))
    if isinstance(manifest.parity, Parity):
        found.append(("largest difference from torch", f"{manifest.parity.max_abs_diff:.2g}"))
    elif isinstance(manifest.parity, Int8Report):
        found.append(("mean cosine of int8 to fp32", f"{manifest.parity.mean_cosine:.4f}"))
        found.append(
            (
                "least cosine of a vector alone to the same in a batch (int8)",
                f"{manifest.parity.neighbour_min_cosine:.4f}",
            )
        )
    return found
