"""Folders of teachers: equal to sentence-transformers, or refused with module, file and key.

    python benchmarks/teachers/teachers.py FOLDER... --group "Title of these folders"

Every folder that nasc takes is compared, on short and long texts, with sentence-transformers
(`encode` in float32; of teachers that score pairs `CrossEncoder.predict`, without its activation,
of other heads transformers): the vectors of `nasc.teacher.Teacher` in batches and one by one, and
those of the full-size fp32 graph with the tokenizer files of a package. Rows are kept in
teachers.json beside this script, so that large folders can be made, compared and deleted one after
the other; docs/teachers.md is written from it anew.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from nasc.architecture.heads import ANSWERS, TOKENS
from nasc.architecture.space import Architecture, Block
from nasc.data.prompts import prompted
from nasc.data.texts import Text
from nasc.errors import NascError
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.parity import LONGEST
from nasc.export.onnx import emit
from nasc.networks.from_teacher import teacher_network
from nasc.package.tokenizer_files import write_tokenizer
from nasc.teacher import Teacher, load_teacher
from nasc.teacher.library import (
    MAX_ABS,
    TEXTS,
    CrossEncoderLibrary,
    SentenceTransformersLibrary,
    comparable,
    load_library,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROWS = Path(__file__).resolve().with_name("teachers.json")

MORE_TEXTS = (
    *TEXTS,
    "Sun",
    "THE CAT SAT ON THE MAT. " * 20,
    "Crème brûlée " * 100,
    "0123456789 " * 200,
    "a",
    " ",
)
MORE_PAIRS = tuple(zip(MORE_TEXTS, MORE_TEXTS[::-1], strict=True))


Outputs = Sequence[np.ndarray[Any, Any]]


def outputs_of_graph(teacher: Teacher, texts: list[Text]) -> list[Outputs]:
    """What the full-size fp32 graph gives, in one batch and one by one.

    Texts are tokenised by the files that a package would have.
    """
    g = teacher.geometry
    blocks = (Block(g.hidden, ("mha", "ffn"), kept=True),) * g.layers
    with TemporaryDirectory() as name:
        folder = Path(name)
        emit(teacher_network(teacher, Architecture(blocks)), folder / "model.onnx")
        write_tokenizer(folder, teacher.tokenizer, teacher.max_length)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        encoder = Encoder(folder / "model.onnx", tokenizer, max_length=teacher.max_length)
        return [
            prompted(
                functools.partial(encoder.outputs_of, batch_size=size), teacher.prompts.before
            )(texts)
            for size in (batch_of(teacher, len(texts)), 1)
        ]


def batch_of(teacher: Teacher, texts: int) -> int:
    """Texts in a batch: all, or as many as attention over thousands of tokens has memory for."""
    return texts if teacher.max_length <= LONGEST else 3


def difference(found: Outputs, expected: Outputs) -> float:
    """Largest of a component of any text."""
    return max(float(np.abs(f - e).max()) for f, e in zip(found, expected, strict=True))


def row(folder: Path) -> dict[str, Any]:
    """What nasc says of a folder, with the largest differences where it takes it."""
    try:
        teacher = load_teacher(folder)
    except NascError as error:
        return {"refused": str(error).replace(f"'{folder.parent}/", "'")}
    texts = comparable(teacher, MORE_PAIRS if teacher.paired else MORE_TEXTS)
    library, _ = load_library(teacher, folder)
    judges = (SentenceTransformersLibrary, CrossEncoderLibrary)
    scores_tokens = teacher.output in (TOKENS, ANSWERS)
    judged = teacher.output == "embed" or (teacher.paired and not scores_tokens)
    if judged and not isinstance(library, judges):
        raise SystemExit(f"{folder}: sentence-transformers cannot load it")
    expected = library.vectors(texts)
    alone = [library.vectors([text])[0] for text in texts]
    ours = {
        "teacher": [teacher.outputs(texts), teacher.outputs(texts, batch_size=1)],
        "graph": outputs_of_graph(teacher, texts),
    }
    worst = {
        name: max(difference(f, e) for f in found for e in (expected, alone))
        for name, found in ours.items()
    }
    return {
        "same_tokens": teacher.tokenize(texts).rows() == library.token_lists(texts),
        "max_length": teacher.max_length,
        **worst,
    }


def markdown(record: dict[str, Any]) -> str:
    """docs/teachers.md from all rows."""
    library = f"sentence-transformers {record['sentence-transformers']}"
    lines = [
        "# Teachers: equal or refused",
        "",
        "Written by `python benchmarks/teachers/teachers.py FOLDER... --group TITLE`; do not edit.",
        "",
        f"A teacher's folder gives the vectors of {library} for the same folder, or it is refused "
        "with module, file and key. Each row is one folder. Where it is taken, the tokens are the "
        "same, and the numbers are the largest absolute difference of a component from "
        f"`SentenceTransformer(folder).encode(texts)`, computed in float32, on {len(MORE_TEXTS)} "
        "texts (short, 10,000 characters, capitals, accents, digits, other scripts, literal "
        f"special tokens, empty), in one batch and one by one; at most {MAX_ABS:g} is allowed. "
        "Of a teacher with a head of its own they are of the scores of transformers "
        "(`AutoModelForSequenceClassification`, `AutoModelForTokenClassification` and "
        "`AutoModelForQuestionAnswering`), where that scores two texts of "
        f"`CrossEncoder(folder).predict(pairs)` without its activation, on {len(MORE_PAIRS)} pairs "
        "of these texts. "
        "*Teacher* is `nasc.teacher`, *graph* the full-size fp32 ONNX graph with the tokenizer "
        "files of a package.",
        "",
        "- Without modules.json, vectors are the mean over tokens, as long as it is; without a "
        "Normalize in it they keep their length too.",
        "- Weights stored in float16 or bfloat16 are computed in float32, which "
        "sentence-transformers by default does not; the comparison is in float32.",
        "- Two texts differ and cannot be refused in advance. The literal padding token within a "
        "text (`<pad>`) given to a RoBERTa, XLM-R or MPNet, whose positions are counted without "
        "it. The literal separator (`[SEP]`) in the first of two texts ends it for a BERT, ELECTRA "
        "or ALBERT of nasc, which finds token types by the separator.",
        "- A RoBERTa or MPNet whose tokenizer_config.json has no model_max_length, or one above "
        "its positions, is refused: sentence-transformers cuts its texts 2 tokens too late, and "
        "fails.",
        "- ModernBERT's windows of attention are a mask over all pairs of tokens: memory grows "
        "with the square of a text's length, 3 GB for the scores of one layer of its base size at "
        "8,192 tokens. Where it is compared, batches are of 3 texts.",
        "",
        "`nasc compile`, `train`, `distill`, `search` and `audit` make the same comparison for the "
        "teacher that they are given, once for the same files, with the library where it is "
        "installed (`pip install sentence-transformers`), else with transformers.",
    ]
    for group, rows in record["groups"].items():
        lines += [
            "",
            f"## {group}",
            "",
            "| folder | tokens | teacher | graph |",
            "|---|---|---|---|",
        ]
        for name, found in sorted(rows.items()):
            if "refused" in found:
                continue
            lines.append(
                f"| {name} | {found['max_length']} | {found['teacher']:.1e} | "
                f"{found['graph']:.1e} |"
            )
        lines += ["", "| folder | refused |", "|---|---|"]
        for name, found in sorted(rows.items()):
            if "refused" in found:
                text = found["refused"].removeprefix(f"teacher '{name}'").removeprefix(": ")
                lines.append(f"| {name} | {text.strip().replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--group", required=True, help="title of these folders")
    args = parser.parse_args()
    record = json.loads(ROWS.read_text()) if ROWS.exists() else {"groups": {}}
    record["sentence-transformers"] = importlib.metadata.version("sentence-transformers")
    rows = record["groups"].setdefault(args.group, {})
    failed = []
    for folder in args.folders:
        rows[folder.name] = found = row(folder)
        print(folder.name, found, flush=True)
        ROWS.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        (DOCS / "teachers.md").write_text(markdown(record))
        worst = max(found.get("teacher", 0), found.get("graph", 0))
        if not found.get("same_tokens", True) or not worst <= MAX_ABS:
            failed.append(folder.name)
    if failed:
        raise SystemExit(f"neither equal nor refused: {', '.join(failed)}")


if __name__ == "__main__":
    main()
