"""A reranker: the default teacher fine-tuned on pairs and compiled, beside it with fewer layers.

The default teacher with a head of one score learns from SQuAD's training questions: each with its
own paragraph, one of its neighbours in the article and one at random. What `nasc.compile` makes of
it under a share of its latency in int8 is held against the rival of `quality.py`: as many of its
layers as that share allows, of all choices of so many those that come closest before training,
trained for the same steps on the same pairs. All are judged as shipped, on questions of SQuAD's dev
set that no training saw: each ranks the paragraphs whose sentence vectors (the default teacher's)
are nearest to its own, one of which answers it.

* ``answer_ndcg``: nDCG@10 of the paragraph that answers;
* ``teacher_ndcg``: nDCG@10 of those that the fine-tuned teacher ranks first.

Intervals are 90%, by bootstrap over the questions.

    python benchmarks/quality/reranker.py --squad train-v1.1.json dev-v1.1.json --folder WORK

goes on in the same folder where it was interrupted, but for a stage that was not finished.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from quality import measure, rivals_at
from sklearn.metrics import ndcg_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.data.texts import Text
from nasc.distillation.train import DistillConfig, distill_cached
from nasc.evaluation.bootstrap import mean_with_interval
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.retrieval import CUTOFF, score_ndcgs
from nasc.evaluation.similarity import unit_vectors
from nasc.export.onnx import emit
from nasc.networks.network import Network
from nasc.pipelines.compile import compile
from nasc.pipelines.options import Options
from nasc.solver.problem import Limits
from nasc.supernet.teacher_pruning import pruned_network
from nasc.tasks.retrieval import Retrieval, read_retrieval
from nasc.teacher import default_teacher_folder, load_teacher
from nasc.utils.torch_device import has_bf16

sys.path.append(str(Path(__file__).parents[1]))
from common import Lines

PRECISION = "int8"
LENGTH = 128
"""Tokens of a pair, in training and when judged."""

LEARNING_RATE, WARM_UP = 1e-4, 30
QUESTIONS_IN_A_STEP = 8
NEIGHBOURS = (-3, -2, -1, 1, 2, 3)

Scores = NDArray[np.floating[Any]]


def training_pairs(squad: Retrieval, seed: int) -> Iterator[list[tuple[str, str, float]]]:
    """Of each question in turn: its paragraph, a neighbour, one at random; with what is wanted."""
    rng, last = np.random.default_rng(seed), len(squad.paragraphs) - 1
    for question in rng.permutation(len(squad.questions)):
        own = int(squad.answers[question])
        near = min(max(own + int(rng.choice(NEIGHBOURS)), 0), last)
        asked = squad.questions[question]
        chosen = {own: 1.0, **{n: 0.0 for n in (near, int(rng.integers(last))) if n != own}}
        yield [(asked, squad.paragraphs[n], wanted) for n, wanted in chosen.items()]


def fine_tuned(squad: Retrieval, folder: Path, steps: int, seed: int) -> Path:
    """The default teacher as a reranker, in a folder as a hub serves it."""
    if (folder / "config.json").exists():
        return folder
    torch.manual_seed(seed)
    start = default_teacher_folder()
    tokenizer = AutoTokenizer.from_pretrained(start)
    model = AutoModelForSequenceClassification.from_pretrained(start, num_labels=1)
    model.config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / WARM_UP, total_iters=WARM_UP)
    asked = training_pairs(squad, seed)
    model.train()
    bf16 = has_bf16()
    for step in range(steps):
        several = itertools.islice(asked, QUESTIONS_IN_A_STEP)
        rows = list(itertools.chain.from_iterable(several))
        first, second, wanted = map(list, zip(*rows, strict=True))
        batch = tokenizer(
            first, second, padding=True, truncation=True, max_length=LENGTH, return_tensors="pt"
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            scores = model(**batch).logits[:, 0].float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, torch.tensor(wanted))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        warm.step()
        if step % 50 == 0:
            print(f"  step {step}: loss {loss.item():.3f}", file=sys.stderr)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def write_pairs(squad: Retrieval, path: Path, questions: int, seed: int) -> Path:
    """A file for `--pairs`: questions with paragraphs, without what is wanted."""
    chosen = itertools.islice(training_pairs(squad, seed + 1), questions)
    rows = itertools.chain.from_iterable(chosen)
    lines = ["\t".join(" ".join(t.split()) for t in (a, b)) + "\n" for a, b, _ in rows]
    path.write_text("".join(lines), encoding="utf-8")
    return path


class Judge:
    """Rankings of paragraphs for questions."""

    def __init__(self, squad: Retrieval, tokenizer: Any, each: int, seed: int) -> None:
        encoder = load_teacher(None)
        asked, given = (
            unit_vectors(encoder.vectors(list(texts), max_length=LENGTH), "teacher")
            for texts in (squad.questions, squad.paragraphs)
        )
        nearest = np.argsort(-(asked @ given.T), axis=1)[:, :each]
        found = (nearest == squad.answers[:, None]).any(axis=1)
        self.answered = float(found.mean())
        self.queries = np.repeat(np.arange(int(found.sum())), each)
        self.wanted = (nearest == squad.answers[:, None])[found].astype(float)
        self.pairs: list[Text] = [
            (squad.questions[q], squad.paragraphs[p])
            for q in np.flatnonzero(found)
            for p in nearest[q]
        ]
        self._tokenizer, self._seed = tokenizer, seed
        self.teacher: Scores | None = None

    def __call__(self, path: Path) -> dict[str, Any]:
        """Both figures of a file; the first one asked about is the teacher's."""
        encoder = Encoder(path, self._tokenizer)
        scores = encoder.encode(self.pairs, max_length=LENGTH)[:, 0]
        if self.teacher is None:
            self.teacher = scores
        own = scores.reshape(self.wanted.shape)
        each = {
            "answer_ndcg": np.array(
                [
                    ndcg_score(w[None], s[None], k=CUTOFF)
                    for w, s in zip(self.wanted, own, strict=True)
                ]
            ),
            "teacher_ndcg": score_ndcgs(self.teacher, scores, self.queries),
        }
        return {
            name: dataclasses.asdict(mean_with_interval(values, seed=self._seed))
            for name, values in each.items()
        }


def pruned(context: RunContext, kept: tuple[int, ...]) -> Network:
    """The teacher with some of its layers."""
    operations = operations_of(context, kept)
    return pruned_network(
        context.teacher, context.whole_space, operations, PRECISION, context.trained_head
    )


def operations_of(context: RunContext, kept: tuple[int, ...]) -> tuple[bool, ...]:
    return tuple(i // 2 in kept for i in range(2 * context.teacher.geometry.layers))


def run(given: argparse.Namespace) -> dict[str, Any]:
    folder: Path = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    train = read_retrieval(given.squad[0])
    teacher = fine_tuned(train, folder / "teacher", given.fine_tune_steps, given.seed)
    settings = Settings(
        device=given.device,
        teacher=str(teacher),
        pairs=write_pairs(train, folder / "pairs.tsv", given.pairs, given.seed),
        runtime="onnxruntime",
        precisions=(PRECISION,),
        seq_len=LENGTH,
        train_minutes=given.train_minutes,
        seed=given.seed,
        cache=folder / "cache",
    )
    context = RunContext(settings, Lines())
    dev = read_retrieval(given.squad[1], given.questions, seed=given.seed)
    judge = Judge(dev, context.tokenizer, given.paragraphs, given.seed)

    layers = context.teacher.geometry.layers
    files = {f"{n}": folder / f"depth-{n}.onnx" for n in range(1, layers + 1)}
    for name, path in files.items():
        emit(pruned(context, tuple(range(int(name)))), path)
    depths = measure(context, files)
    upper = {int(name): found.upper_ms for name, found in depths.items()}
    teacher_ms = depths[f"{layers}"].latency_ms

    files = {"teacher": files[f"{layers}"]}
    about: dict[str, dict[str, Any]] = {"teacher": {"layers_kept": list(range(1, layers + 1))}}
    for fraction in given.fractions:
        limit = fraction * teacher_ms
        ours, rival = f"ours at {fraction:g}", f"depth-pruned at {fraction:g}"
        print(f"{ours}: {limit:.2f} ms", file=sys.stderr)
        options = Options(
            distill_steps=given.distill_steps, output=folder / f"ours-{fraction:g}", force=True
        )
        result = compile(Limits(latency_ms=limit), settings, options, Lines())
        files[ours] = result.package / "model.onnx"
        about[ours] = {"architecture": str(result.manifest.architecture), "limit_ms": limit}
        count = rivals_at(limit, upper)[0]
        if not count:
            continue
        choices = itertools.combinations(range(layers), count)
        best = min(
            choices, key=lambda kept: context.supernet.pruned_loss(operations_of(context, kept))
        )
        trained, _ = distill_cached(
            pruned(context, best),
            context.teacher,
            context.corpus,
            DistillConfig(given.distill_steps, seed=given.seed),
            seconds=None,
            cache_dir=context.cache,
            reporter=Lines(),
        )
        files[rival] = folder / f"rival-{fraction:g}.onnx"
        emit(trained, files[rival])
        about[rival] = {"layers_kept": [n + 1 for n in best], "limit_ms": limit}

    scores = {name: judge(path) for name, path in files.items()}
    latencies = measure(context, files)
    return {
        "benchmark": "reranker",
        "precision": PRECISION,
        "pairs": context.corpus.description,
        "fine_tune_steps": given.fine_tune_steps,
        "distill_steps": given.distill_steps,
        "questions": len(judge.wanted),
        "paragraphs_each": given.paragraphs,
        "answer_among_them": judge.answered,
        "networks": {
            name: about[name]
            | {"latency_ms": latencies[name].latency_ms, "upper_ms": latencies[name].upper_ms}
            | scores[name]
            for name in files
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--squad", nargs=2, type=Path, required=True, metavar=("TRAIN", "DEV"))
    parser.add_argument("--folder", type=Path, required=True, help="of what is made on the way")
    parser.add_argument("--device", default="host")
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.5, 0.25])
    parser.add_argument("--fine-tune-steps", type=int, default=500)
    parser.add_argument("--distill-steps", type=int, default=500)
    parser.add_argument("--train-minutes", type=float, default=5.0, help="of the supernet")
    parser.add_argument("--pairs", type=int, default=3000, help="questions to distil on")
    parser.add_argument("--questions", type=int, default=300, help="that judge")
    parser.add_argument("--paragraphs", type=int, default=20, help="that each ranks")
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(run(parser.parse_args()), indent=1))


if __name__ == "__main__":
    main()
