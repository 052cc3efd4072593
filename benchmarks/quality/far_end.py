"""The far end of the front: networks beside static word vectors, by what tells them apart.

Rows of one table, each a model as shipped, in batches of one, by onnxruntime:

- teacher-fp32, teacher-int8: the whole default teacher;
- depth-N: the teacher with N layers in int8, the choice of them with the least loss;
- ours-SHARE: networks that `nasc compile` chose at 1/2, 1/4 and 1/8 of the int8 teacher's latency
  (docs/quality.md), in int8, cut from the supernet that comes with nasc;
- static-SIZE: static word vectors of the teacher (static_vectors.py).

Those of depth and ours with ``+N`` were distilled for N more steps (`--steps`), on `--corpus`.

Of each: question to paragraph on SQuAD (place of every asked question's paragraph, and MRR@10,
recall@1, recall@10), nDCG@10 of rankings and rank correlation of similarities with those of the
teacher in fp32 on held-out sentences of a text that none of them was trained on, the same nDCG on
the paragraphs, STS-B. What is in the table is not done again; `quality_report.py` makes the
document's table of it.

    python benchmarks/quality/far_end.py --squad dev-v1.1.json --sts STS-B/dev.tsv
        --text wikitext-2/valid.txt [--steps 400 --corpus wiki-en] [--latency]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from quality import PRECISION, found_paragraphs, measure, pruned, true_losses
from results import TABLE, Results
from static_vectors import kept_tokens, static_table, token_vectors, write_static

from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.data.corpus import load_corpus
from nasc.distillation.train import DistillConfig, distill_cached
from nasc.evaluation.agreement import pooled_cosine, similarity_spearman
from nasc.evaluation.encode_blocks import encode_blocks
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.retrieval import ranking_ndcg
from nasc.export.onnx import emit
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.supernet.checkpoint import load_supernet
from nasc.tasks.retrieval import read_retrieval
from nasc.tasks.sts import evaluate_sts, read_sts
from nasc.utils.files import content_key

sys.path.append(str(Path(__file__).parents[1]))
from common import Lines

PREFIX = "far-"
OURS = {
    "1-2": "256: M F M | 192: F | 384: F M F",
    "1-4": "192: M | 192: F | 256: F M F",
    "1-8": "192: M | 128: F | 256: M",
}
"""What the grid's `nasc compile` chose at shares of the int8 teacher's latency (results.jsonl)."""

DEPTHS = (3, 2, 1)
SIZES = (256, 64)
SENTENCES = 512

Vectors = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Vectors of one model.

    Attributes:
        questions: (questions, size).
        paragraphs: (paragraphs, size).
        sentences: (sentences, size).
    """

    questions: Vectors
    paragraphs: Vectors
    sentences: Vectors


class FarEnd:
    """All rows, made when first asked for."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.results = Results(arguments.results)
        settings = Settings(
            corpus=tuple(arguments.corpus), precisions=(PRECISION,), cache=arguments.cache
        )
        self.context = RunContext(settings, Lines())
        self.asked = read_retrieval(arguments.squad, arguments.queries, seed=arguments.seed)
        self.sts = read_sts(arguments.sts)
        text = load_corpus(arguments.text, seed=0)
        self.sentences = text.heldout[:SENTENCES]
        self.identity = {
            "teacher": self.context.teacher.sha256,
            "questions": content_key({"q": self.asked.questions, "p": self.asked.paragraphs}),
            "text": text.sha256,
            "sentences": len(self.sentences),
        }
        self.files = self.context.cache / "far_end" / content_key(self.identity)
        self.files.mkdir(parents=True, exist_ok=True)

    # ------------------------------------------------------------------ models

    @cached_property
    def _static(self) -> tuple[NDArray[np.int64], Vectors]:
        ids = kept_tokens(self.context.teacher)
        return ids, token_vectors(self.context.teacher, ids)

    @cached_property
    def _best_layers(self) -> dict[int, tuple[int, ...]]:
        """By depth the layers of the teacher that lose least."""
        found = {}
        for count in DEPTHS:
            losses = true_losses(self.context, count)
            found[count] = min(losses, key=losses.__getitem__)
        return found

    def _supernet_cut(self, share: str) -> Network:
        path = self.context.supernet_path
        if path is None:
            raise SystemExit("no supernet comes with nasc for the default teacher")
        supernet, _ = load_supernet(path, self.context.teacher)
        architecture = supernet.space.parse(OURS[share]).with_precision(PRECISION)
        return supernet.extract(architecture, "embed")

    def _whole(self, precision: str) -> Network:
        space = self.context.whole_space
        return teacher_network(self.context.teacher, space.teacher.with_precision(precision))

    def _distilled(self, network: Network) -> Network:
        trained, _ = distill_cached(
            network,
            self.context.teacher,
            self.context.corpus,
            DistillConfig(steps=self.arguments.steps),
            seconds=None,
            cache_dir=self.context.cache,
            reporter=Lines(),
        )
        return trained

    def _write_network(self, make: Callable[[], Network], path: Path) -> dict[str, Any]:
        network = make()
        emit(network, path)
        return {"architecture": str(network.architecture), "params": network.params}

    def _write_static(self, size: int, path: Path) -> dict[str, Any]:
        teacher = self.context.teacher
        table = static_table(teacher, *self._static, size)
        write_static(table, path, teacher.geometry.max_positions)
        return {"architecture": f"static, {size} values a token", "params": table.size}

    def models(self) -> dict[str, Callable[[Path], dict[str, Any]]]:
        """By row what writes its file and tells of it."""
        found: dict[str, Callable[[Path], dict[str, Any]]] = {}

        def add(name: str, make: Callable[[], Network]) -> None:
            found[name] = lambda path: self._write_network(make, path)

        for precision in ("fp32", PRECISION):
            add(f"teacher-{precision}", lambda p=precision: self._whole(p))  # type: ignore[misc]
        for size in SIZES:
            found[f"static-{size}"] = lambda path, s=size: self._write_static(s, path)  # type: ignore[misc]
        starts: dict[str, Callable[[], Network]] = {}
        for share in OURS:
            starts[f"ours-{share}"] = lambda s=share: self._supernet_cut(s)  # type: ignore[misc]
        for count in DEPTHS:
            starts[f"depth-{count}"] = lambda c=count: pruned(self.context, self._best_layers[c])  # type: ignore[misc]
        for name, make in starts.items():
            add(name, make)
        if self.arguments.steps:
            for name, make in starts.items():
                add(f"{name}+{self.arguments.steps}", lambda m=make: self._distilled(m()))  # type: ignore[misc]
        return found

    # ------------------------------------------------------------------ judging

    def _judged(self, encoder: Encoder) -> Judged:
        return Judged(
            encode_blocks(encoder.encode, self.asked.questions),
            encode_blocks(encoder.encode, self.asked.paragraphs),
            encode_blocks(encoder.encode, self.sentences),
        )

    def _encoder(self, path: Path) -> Encoder:
        teacher = self.context.teacher
        return Encoder(path, teacher.tokenizer, max_length=teacher.max_length, batch_size=1)

    @cached_property
    def _wanted(self) -> Judged:
        """The teacher's vectors in fp32, kept beside the files."""
        kept = self.files / "teacher-fp32.npz"
        if not kept.exists():
            path = self.files / "teacher-fp32.onnx"
            emit(self._whole("fp32"), path)
            found = self._judged(self._encoder(path))
            part = kept.with_suffix(".part.npz")
            np.savez(part, **dataclasses.asdict(found))
            part.rename(kept)
        with np.load(kept) as arrays:
            return Judged(**{name: arrays[name] for name in arrays.files})

    def row(self, name: str, write: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """What a model is worth."""
        path = self.files / f"{name}.onnx"
        about = write(path)
        encoder = self._encoder(path)
        wanted = self._wanted
        own = wanted if name == "teacher-fp32" else self._judged(encoder)
        found = found_paragraphs(self.asked, own.questions, own.paragraphs)
        same_size = own.sentences.shape == wanted.sentences.shape
        return about | {
            "identity": self.identity,
            "size_bytes": path.stat().st_size,
            **found,
            "ranking_ndcg": ranking_ndcg(wanted.sentences, own.sentences),
            "ranking_paragraphs": ranking_ndcg(wanted.paragraphs, own.paragraphs),
            "similarity_spearman": similarity_spearman(wanted.sentences, own.sentences),
            "pooled_cosine": pooled_cosine(wanted.sentences, own.sentences) if same_size else None,
            "sts": evaluate_sts(encoder.encode, self.sts),
        }

    def latencies(self, names: list[str]) -> dict[str, Any]:
        """Models in one interleaved measurement: batch 1, 128 tokens, one thread."""
        found = measure(self.context, {name: self.files / f"{name}.onnx" for name in names})
        return {"latency_ms": {name: [m.latency_ms, m.upper_ms] for name, m in found.items()}}

    def run(self) -> None:
        """Every row that is not there yet."""
        groups = {"identity": self.identity, "answers": self.asked.answers.tolist()}
        self._cell("questions", lambda: groups)
        models = self.models()
        for name, write in models.items():
            self._cell(name, lambda n=name, w=write: self.row(n, w))  # type: ignore[misc]
        if self.arguments.latency:  # distillation changes no latency
            self._cell("latencies", lambda: self.latencies([n for n in models if "+" not in n]))

    def _cell(self, name: str, make: Callable[[], dict[str, Any]]) -> None:
        rows, row = self.results.rows(), PREFIX + name
        if row in rows:
            if rows[row].get("identity", self.identity) != self.identity:
                raise SystemExit(
                    f"'{row}' in '{self.results.path}' is of other data or another teacher. Name "
                    "another table: --results FILE"
                )
            return
        print(f"{time.strftime('%H:%M')} {name}", file=sys.stderr)
        self.results.add(row, make())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=TABLE, help="table; default: %(default)s")
    parser.add_argument("--squad", type=Path, required=True, help="SQuAD v1.1 dev file")
    parser.add_argument("--sts", type=Path, required=True, help="dev.tsv of GLUE's STS-B")
    parser.add_argument("--text", type=Path, required=True, help="text to judge by")
    parser.add_argument("--corpus", nargs="+", default=[], help="text to distil on")
    parser.add_argument("--steps", type=int, default=0, help="of distillation of some rows more")
    parser.add_argument("--queries", type=int, default=2000, help="questions that are asked")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of questions")
    parser.add_argument("--latency", action="store_true", help="measure every network, in turn")
    parser.add_argument("--cache", type=Path, help="networks, vectors; default: the user's")
    FarEnd(parser.parse_args()).run()


if __name__ == "__main__":
    main()
