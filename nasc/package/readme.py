"""README.md of a package: what it is, its key figures, and the lines that use it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from nasc.architecture.heads import (
    gives_answers,
    gives_scores,
    gives_spans,
    gives_vector,
    pooling_of,
    scores_tokens,
)
from nasc.evaluation.parity_report import Parity, ReducedPrecisionReport
from nasc.package.formats import format_of
from nasc.package.formats.base import (
    PAIRS,
    QUERIES,
    QUESTIONS,
    SENTENCES,
    answer_lines,
    model_files,
)
from nasc.package.library_files import CONFIG
from nasc.package.manifest import Manifest
from nasc.package.measurements import MEASURED, has_measurements
from nasc.package.quality import quality_texts
from nasc.utils.printable import printable

_EMBED = """\
vectors = RUN
print(vectors @ vectors.T)  # cosine similarities: the vectors have length 1
"""
_UNSCALED = """\
vectors = RUN
unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # their lengths are the teacher's
print(unit @ unit.T)  # cosine similarities
"""
_EMBED_QUERY = """\
vectors = RUN
documents = np.load("documents.npy")  # yours: (document, value), by the teacher, of length 1
print(vectors @ documents.T)  # cosine similarities of queries and documents
"""
_UNSCALED_QUERY = """\
vectors = RUN
documents = np.load("documents.npy")  # yours: (document, value), by the teacher
unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # their lengths are the teacher's
of_documents = documents / np.linalg.norm(documents, axis=1, keepdims=True)
print(unit @ of_documents.T)  # cosine similarities of queries and documents
"""
_HIDDEN = """\
states = RUN
print(states.shape)  # (sentence, token, hidden); padding holds arbitrary values
"""
_CLASSES = """\
scores = RUN
labels = LABELS
print([labels[best] for best in scores.argmax(axis=1)])
"""
_REGRESSION = """\
scores = RUN
print(scores[:, 0])
"""
_SIGMOID = """\
scores = RUN
print(1 / (1 + np.exp(-scores[:, 0])))
"""
_TOKENS = """\
scores = RUN
labels = LABELS
for text, best in zip(batch, scores.argmax(axis=2)):
    tokens = zip(text.tokens, best, text.attention_mask)
    print([(token, labels[one]) for token, one, real in tokens if real])
"""
_ANSWERS = """\
found = ALL
starts, ends = found[0][0], found[1][0]
"""
_SPANS = """\
starts, ends = RUN[0]
"""


def usage(manifest: Manifest) -> str:
    """The lines of Python that use a package, run inside its folder."""
    task = manifest.task
    form = format_of(manifest.conditions.runtime)
    labels = () if task is None else task.labels
    texts, last = SENTENCES, _HIDDEN
    if gives_vector(manifest.head) and task is None:
        last = _EMBED if pooling_of(manifest.head).unit else _UNSCALED
        if manifest.query_only:
            texts = QUERIES
            last = _EMBED_QUERY if pooling_of(manifest.head).unit else _UNSCALED_QUERY
    elif gives_spans(manifest.head):
        own = gives_answers(manifest.head)  # nasc's task, SQuAD 1, always has an answer
        best = answer_lines("batch[0].sequence_ids", "batch[0].offsets", "texts[0][1]", none=own)
        texts, last = QUESTIONS, (_ANSWERS if own else _SPANS) + best
    elif task is not None and scores_tokens(manifest.head):
        last = _TOKENS
    elif task is not None:
        texts = PAIRS if task.paired else SENTENCES
        last = _SIGMOID if task.activation == "sigmoid" else _REGRESSION
        if labels:
            last = _CLASSES
    # Labels last: theirs are the words of somebody else, who may write RUN.
    last = last.replace("RUN", form.RUN).replace("ALL", form.RUN.removesuffix("[0]"))
    last = last.replace("LABELS", repr(list(labels)))
    conditions, padding, filled = manifest.conditions, "", ""
    if conditions.fixed_shape:
        padding = f"length={conditions.seq_len}"
        filled = f"texts = (texts * {conditions.batch})[:{conditions.batch}]  # no other number\n"
    return f"""\
import numpy as np
{form.IMPORT}
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")  # cuts texts to {manifest.max_length} tokens
tokenizer.enable_padding({padding})
{form.load_lines(manifest)}texts = {texts}
{_prompt_lines(manifest)}{filled}batch = tokenizer.encode_batch(texts)
ids = np.array([text.ids for text in batch], np.int64)
mask = np.array([text.attention_mask for text in batch], np.int64)
{last}"""


def _prompt_lines(manifest: Manifest) -> str:
    """The lines that put a prompt before texts; nothing where there is none."""
    prompts = manifest.prompts
    if not prompts:
        return ""
    chosen = '""' if prompts.default is None else f"prompts[{json.dumps(prompts.default)}]"
    said = "none by default" if prompts.default is None else "before every text by default"
    return f"""\
prompts = {json.dumps(dict(prompts.texts))}
prompt = {chosen}  # {said}; take the one that a text is for
texts = [prompt + text for text in texts]
"""


def _plain(text: str) -> str:
    """Somebody's words as Markdown shows them: no link, no tag, no cell of their own."""
    return "".join(f"\\{one}" if one in "\\`[]<>|" else one for one in printable(text))


def figures_of(text: str) -> list[str]:
    """The rows of the table of figures in README.md or MEASURED.md, as they are written."""
    _, heading, after = text.partition("\n## Figures\n")
    after = after if heading else text
    return [line for line in after.splitlines() if line.startswith("|")]


def _other_libraries(manifest: Manifest) -> str:
    """How other libraries use a package; nothing where they have no call, or lack a file."""
    called = manifest.task is None or manifest.scores_pairs or scores_tokens(manifest.head)
    if not called or CONFIG not in manifest.files:
        return ""
    if manifest.conditions.shape is not None:
        batch, seq_len = manifest.conditions.shape
        return f"""
Other libraries pad to the longest text of a batch, which this model does not take: its inputs are
always of {batch} x {seq_len} tokens.
"""
    return f"\n{format_of(manifest.conditions.runtime).other_libraries(manifest)}"


def readme(manifest: Manifest) -> str:
    """The text of README.md, without what was measured where that has a file of its own.

    Args:
        manifest: Of the package. Only with config.json among its files is told how other
            libraries read it: packages of nasc before November 2026 lack it.
    """
    apart = has_measurements(manifest.files)
    figures = _table(one for one in _figures(manifest) if not (apart and one.measured))
    name = _plain(manifest.teacher.name)
    if manifest.architecture.is_teacher:
        what = f"The full-size network of {name} in {manifest.precision}"
        used = "Checked on"
        trained = ""
    else:
        what = f"A smaller network that follows {name}"
        used = "Trained on"
        trained = f"\n\nTraining: {_plain(str(manifest.training))}."
    form, task = format_of(manifest.conditions.runtime), manifest.task
    does = ""
    if task is not None and gives_scores(manifest.head):
        what_of = "the scores of its classes" if task.labels else "its score"
        of_two = " of two texts" if task.paired else ""
        does = f"\n\nIt has the teacher's own head and gives {what_of}{of_two} (logits)."
    elif task is not None and scores_tokens(manifest.head):
        what_of = "the scores of its classes for every token"
        if gives_answers(manifest.head):
            what_of = "for every token its scores as the first and as the last of the answer"
        does = f"\n\nIt has the teacher's own head and gives {what_of} (logits)."
    elif task is not None:
        does = f"\n\nIt was fine-tuned on the task {_plain(task.name)} and gives its answers."
    timed = ", and on the device it was made for the latency too," * manifest.states_latency
    how = form.own_usage(manifest) or _python_usage(form.NEEDS, manifest)
    return f"""\
# A text encoder, compiled by NASC
{_estimate(manifest)}
{what}: `{manifest.architecture}`.{does}{_query_only(manifest)}{_prompts(manifest)}

## Use it

{how}{form.precision_note(manifest)}{_other_libraries(manifest)}{form.other_languages(manifest)}
## Figures

{figures}

{_about(manifest, apart)}

{used}: {_plain(manifest.text.description)}.{trained}

{_EVIDENCE_APART if apart else _EVIDENCE} Check it all
again{timed} with `nasc verify` and the path of
this folder. golden.json holds texts with the token ids and vectors that any port of the
tokenizer and the model has to reproduce.
"""


def _about(manifest: Manifest, apart: bool) -> str:
    """What the figures are about, or that there are none of a latency."""
    if not manifest.states_latency:
        return "No latency of this folder is stated: none was measured."
    return f"Latency is about: {_plain(str(manifest.conditions))}.{_APART if apart else ''}"


_EVIDENCE = "manifest.json holds the evidence: raw samples, conditions, versions, hashes."
_EVIDENCE_APART = """\
manifest.json and measurements.json hold the evidence: conditions, versions and hashes the one,
raw samples the other, which is no part of the build: the same network, from the same inputs by
as many steps and the same versions of nasc, gives all other files byte for byte, but for
SHA256SUMS, which covers it."""
_APART = f" What was measured is in [{MEASURED}]({MEASURED})."


def measured_text(manifest: Manifest) -> str:
    """The text of MEASURED.md.

    Args:
        manifest: Of the package.
    """
    figures = _table([one for one in _figures(manifest) if one.measured])
    nothing = "\nNothing was measured on the device.\n" if manifest.measured is None else ""
    return f"""\
# What was measured
{_estimate(manifest)}{nothing}
`{manifest.architecture}`, {manifest.created}; {_plain(str(manifest.conditions))}.

{figures}

measurements.json holds the raw samples that these figures follow from.
"""


def _table(figures: Iterable[_Figure]) -> str:
    rows = "\n".join(f"| {one.name} | {_plain(one.value)} |" for one in figures)
    return f"| | |\n|---|---|\n{rows}"


def _query_only(manifest: Manifest) -> str:
    """What a network for queries alone is compared with, in a paragraph; else nothing."""
    if not manifest.query_only:
        return ""
    teacher = manifest.teacher
    return f"""

**For queries alone.** It stands in for {_plain(teacher.name)} (weights {teacher.sha256[:12]}) where
a text asks. Documents are embedded by that one, and its vectors are compared with theirs, not with
each other. Figures of quality are of queries by it and documents by its teacher."""


def _prompts(manifest: Manifest) -> str:
    """What texts begin with, in a paragraph; nothing where that is nothing."""
    prompts = manifest.prompts
    if not prompts:
        return ""
    rows = "".join(f"\n| {_plain(name)} | {_code(text)} |" for name, text in prompts.texts)
    told = (
        "Which one is before a text is the caller's choice; figures of quality are of texts "
        "without one."
        if prompts.default is None
        else f"Figures of quality are of texts with the prompt `{_plain(prompts.default)}`, which "
        "sentence-transformers puts before texts unless told otherwise; other callers put it there "
        "themselves."
    )
    return f"""

Texts begin with a prompt, word for word, blanks at its end included. {told}

| prompt | text |
|---|---|{rows}"""


def _code(text: str) -> str:
    """A prompt as it is, in a cell: as JSON, so that blanks at its ends are seen."""
    return _plain(json.dumps(text, ensure_ascii=False)) if text else "nothing"


def _python_usage(needs: str, manifest: Manifest) -> str:
    return f"""\
In this folder, with {needs} installed:

```python
{usage(manifest)}```
"""


def _estimate(manifest: Manifest) -> str:
    """That nobody measured its latency, in a paragraph; nothing where it was measured."""
    if manifest.estimate is None:
        return ""
    return f"""
**{_plain(manifest.estimate)}.** Measure it where the device is: `nasc compile`
without `--estimate`.
"""


class _Figure(NamedTuple):
    """A row of the table of figures: whether it differs from one measurement to the next."""

    measured: bool
    name: str
    value: str


def _figures(manifest: Manifest) -> list[_Figure]:
    """All figures, measured ones and those of the build."""
    limits = manifest.limits.items()
    found = [_Figure(False, f"limit: {name}", f"{value:,g}") for name, value in limits]
    form = format_of(manifest.conditions.runtime)
    more = (name for name in form.OPTIONAL_FILES if name in manifest.files)
    files = " and ".join([*model_files(form), *more])
    timed = manifest.estimate is None  # what is estimated is the same each time
    found += [_Figure(timed, name, value) for name, value in _latencies(manifest)]
    if manifest.latency_table is not None:
        measured = manifest.measured is not None
        what = "predicted by" if measured else "latency"
        found.append(_Figure(measured, what, manifest.latency_table))
    if manifest.latency_not_stated is not None:
        found.append(_Figure(False, "latency", manifest.latency_not_stated))
    if manifest.tuned is not None:
        found.append(_Figure(False, "kernels", str(manifest.tuned)))
    if manifest.tokenisation_ms is not None:
        ms = f"{manifest.tokenisation_ms:.2f}"
        found.append(_Figure(True, "tokenisation, beside it (ms)", ms))
    found += [
        _Figure(False, f"size of {files} (bytes)", f"{manifest.size_bytes:,}"),
        _Figure(False, "parameters", f"{manifest.params:,}"),
    ]
    if manifest.vocabulary is not None:
        found.append(_Figure(False, "vocabulary", str(manifest.vocabulary)))
    memory = manifest.peak_memory.measured_bytes
    if memory is not None:
        name = "peak memory of a process that runs it (bytes)"
        found.append(_Figure(True, name, f"{memory:,}"))
    return found + [_Figure(False, name, value) for name, value in _qualities(manifest)]


def _latencies(manifest: Manifest) -> list[tuple[str, str]]:
    found = []
    if manifest.measured is not None:
        model = manifest.measured
        mean = "mean " if model.parts else ""
        found += [
            (f"{mean}latency, measured (ms)", f"{model.latency_ms:.2f}"),
            ("its upper bound (one-sided 95%, ms)", f"{model.upper_ms:.2f}"),
            (
                "as observed: p50, p90, p99 (ms)",
                f"{model.p50_ms:.2f}, {model.p90_ms:.2f}, {model.p99_ms:.2f}",
            ),
            *(
                (
                    f"{one['seq_len']} tokens, {one['share']:.1%} of the texts (ms)",
                    f"{one['latency_ms']:.2f}, at most {one['upper_ms']:.2f}",
                )
                for one in model.lengths()
            ),
        ]
        if model.stream is not None:
            found.append((model.stream.rules, f"{model.stream.estimate_ms:.2f} ms"))
    if manifest.predicted is not None:
        p = manifest.predicted
        how = "predicted" if manifest.estimate is None else "ESTIMATE, not measured"
        found.append(
            (f"latency, {how} (ms)", f"{p.latency_ms:.2f} ({p.low_ms:.2f} to {p.high_ms:.2f})")
        )
    return found


def _qualities(manifest: Manifest) -> list[tuple[str, str]]:
    found = [
        (f"quality: {name.replace('_', ' ')}", _plain(text))
        for name, text in quality_texts(manifest.quality).items()
    ]
    if isinstance(manifest.parity, Parity):
        found.append(("largest difference from torch", f"{manifest.parity.max_abs_diff:.2g}"))
    elif isinstance(manifest.parity, ReducedPrecisionReport):
        found.append(
            (f"mean cosine of {manifest.precision} to fp32", f"{manifest.parity.mean_cosine:.4f}")
        )
        found.append(
            (
                f"least cosine of a vector alone to the same in a batch ({manifest.precision})",
                f"{manifest.parity.neighbour_min_cosine:.4f}",
            )
        )
    return found
