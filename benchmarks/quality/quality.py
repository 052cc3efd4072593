"""Gate: what the search finds is not below dropping layers, at equal latency and training.

The full-size network in int8 is measured; a share of its latency is the limit. Ours: the package
that `nasc.compile` makes under that limit. The rival: the teacher with layers dropped, as many kept
as the limit allows (upper bound of the measured latency), and of all choices of that many the one
with the least true loss on held-out text. Both are trained by the same code on the same text for
the same number of steps (ours pays the halving of `nasc.selection.successive_halving` from them;
the training of the supernet comes before and is stated apart), exported by the same emitter in
int8, and judged as shipped: Spearman's correlation on STS-B dev, and agreement of similarities with
the teacher's on held-out sentences that had no part in choosing either. The rival with one layer
more, over the limit, is printed for information: look at its latency, it may be over by no more
than noise. All latencies are measured again together at the end, in turn.

    python benchmarks/quality/quality.py --sts STS-B/dev.tsv.gz --minutes 3 > quality.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import profilers
from nasc.context.context import RunContext
from nasc.context.settings import TRAIN_MINUTES, Settings
from nasc.data.heldout import JUDGING_SENTENCES, judging_sentences, scored_sentences
from nasc.distillation.train import DistillConfig, distill_cached, steps_for
from nasc.evaluation.agreement import compare, cosines, pooled_cosine, rank_correlation
from nasc.evaluation.encoder import Encoder
from nasc.export.onnx import emit
from nasc.latency.session import latency_job
from nasc.networks.network import Network
from nasc.networks.torch_network import TorchNetwork
from nasc.pipelines.compile import compile
from nasc.pipelines.options import Options
from nasc.solver.problem import Limits
from nasc.supernet.batches import TrainBatches
from nasc.supernet.teacher_pruning import pruned_network
from nasc.supernet.train import TRAIN_LENGTH
from nasc.tasks.sts import SentencePair, evaluate_sts, read_sts
from nasc.utils.torch_device import use_fastest_threads

sys.path.append(str(Path(__file__).parents[1]))
from common import Lines

RUNTIME = "onnxruntime"
PRECISION = "int8"
GATED = (0.5, 0.25)
RESAMPLES = 1000

Vectors = NDArray[np.floating]


def pruned(context: RunContext, kept: tuple[int, ...], precision: str = PRECISION) -> Network:
    """The teacher with only some of its layers."""
    operations = tuple(i // 2 in kept for i in range(2 * context.teacher.geometry.layers))
    head = context.head
    return pruned_network(context.teacher, context.whole_space, operations, precision, head)


def measure(context: RunContext, files: dict[str, Path]) -> dict[str, profilers.ModelMeasurement]:
    """Latencies of files in one interleaved measurement, on the tables' scale."""
    s, vocabulary = context.settings, context.teacher.geometry.vocab_size
    jobs = [latency_job(name, path, s.seq_len, s.batch, vocabulary) for name, path in files.items()]
    baseline = context.sessions.record_baseline(RUNTIME)
    found = context.session(RUNTIME).measure(jobs, baseline.scale)
    return {name: found[name] for name in files}


@torch.no_grad()
def true_losses(context: RunContext, count: int) -> dict[tuple[int, ...], float]:
    """Of every choice of so many layers: one minus the mean cosine to the teacher's vectors."""
    sentences = scored_sentences(context.corpus)
    wanted = context.teacher.vectors(sentences, max_length=TRAIN_LENGTH)
    tokens = context.teacher.tokenize(sentences, max_length=TRAIN_LENGTH)
    found = {}
    for kept in itertools.combinations(range(context.teacher.geometry.layers), count):
        module = TorchNetwork(pruned(context, kept, "fp32")).eval()
        vectors = np.empty_like(wanted)
        for indices in tokens.buckets(64):
            batch = tokens.batch(indices)
            vectors[indices.numpy()] = module(batch.input_ids, batch.attention_mask).numpy()
        found[kept] = 1 - pooled_cosine(wanted, vectors)
    return found


def steps_in(context: RunContext, minutes: float) -> int:
    """Distillation steps that take so long for half of the teacher's layers."""
    use_fastest_threads()
    layers = context.teacher.geometry.layers
    network = pruned(context, tuple(range(0, layers, 2)), "fp32")
    tokens = context.teacher.tokenize(context.corpus.train[:2048], max_length=TRAIN_LENGTH)
    config = DistillConfig(steps=0)
    batches = TrainBatches(tokens, config.batch_size, 0)
    sentences = len(context.corpus.train)
    return steps_for(network, context.teacher, batches, config, 60 * minutes, sentences)


class Judge:
    """STS-B and agreement with the teacher, of a file as shipped."""

    def __init__(self, context: RunContext, sts: list[SentencePair], sentences: int) -> None:
        self._teacher = context.teacher
        self._sts = sts
        self._sentences = judging_sentences(context.corpus, sentences)
        self._vectors = context.teacher.vectors(self._sentences)
        self.pair_similarities: dict[str, Vectors] = {}

    def __call__(self, name: str, path: Path) -> dict[str, float]:
        encoder = Encoder(path, self._teacher.tokenizer)
        length = self._teacher.max_length

        def encode(sentences: list[str]) -> Vectors:
            return encoder.encode(sentences, max_length=length)

        first = encode([pair.first for pair in self._sts])
        second = encode([pair.second for pair in self._sts])
        self.pair_similarities[name] = cosines(first, second)
        found = compare(self._vectors, encode(list(self._sentences)))
        return {
            "sts": evaluate_sts(encode, self._sts),
            "similarity": found.similarity_spearman,
            "pooled_cosine": found.pooled_cosine,
            "ranking": found.ranking_ndcg,
        }

    def sts_gain(self, ours: str, rival: str) -> tuple[float, float]:
        """90% interval of the difference in STS-B, by a paired bootstrap over the pairs."""
        rng = np.random.default_rng(0)
        scores = np.array([pair.score for pair in self._sts])
        gains = []
        for _ in range(RESAMPLES):
            rows = rng.integers(0, len(scores), len(scores))
            first, second = (
                rank_correlation(self.pair_similarities[name][rows], scores[rows])
                for name in (ours, rival)
            )
            gains.append(first - second)
        low, high = np.quantile(gains, [0.05, 0.95])
        return float(low), float(high)


def rivals_at(limit: float, upper_ms: dict[int, float]) -> tuple[int, int]:
    """Most layers whose upper bound is within a limit (0: none), and the next number."""
    within = max((k for k, upper in upper_ms.items() if upper <= limit), default=0)
    return within, min(within + 1, max(upper_ms))


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    settings = Settings(
        device=arguments.device,
        corpus=tuple(arguments.corpus),
        runtime=RUNTIME,
        precisions=(PRECISION,),
        train_steps=arguments.train_steps,
        seed=arguments.seed,
        cache=arguments.cache or folder / "cache",
        train_minutes=arguments.train_minutes if arguments.train_steps is None else None,
    )
    context = RunContext(settings, Lines())
    judge = Judge(context, read_sts(arguments.sts)[: arguments.pairs], arguments.sentences)
    steps = arguments.steps or steps_in(context, arguments.minutes)
    print(f"{steps} steps of distillation each", file=sys.stderr)

    print("latency of the teacher by depth", file=sys.stderr)
    most = context.teacher.geometry.layers
    files = {}
    for count in range(1, most + 1):
        files[f"{count}"] = folder / f"depth-{count}.onnx"
        emit(pruned(context, tuple(range(count))), files[f"{count}"])
    depths = {int(name): found for name, found in measure(context, files).items()}
    bounds = {count: found.upper_ms for count, found in depths.items()}
    teacher_ms = depths[most].latency_ms
    limits = {fraction: fraction * teacher_ms for fraction in arguments.fractions}

    files = {"teacher": files[f"{most}"]}
    scores = {"teacher": judge("teacher", files["teacher"])}
    about: dict[str, dict[str, Any]] = {"teacher": {"steps": 0}}
    for fraction, limit in limits.items():
        print(f"ours at {fraction:g}: {limit:.2f} ms", file=sys.stderr)
        name = f"ours at {fraction:g}"
        options = Options(distill_steps=steps, output=folder / f"ours-{fraction:g}")
        result = compile(Limits(latency_ms=limit), settings, options, Lines())
        files[name] = result.package / "model.onnx"
        scores[name] = judge(name, files[name])
        about[name] = {"architecture": str(result.manifest.architecture), "steps": steps}
    for count in sorted({k for limit in limits.values() for k in rivals_at(limit, bounds) if k}):
        print(f"rival of {count} layers", file=sys.stderr)
        losses = true_losses(context, count)
        best = min(losses, key=losses.__getitem__)
        trained, rival_steps = distill_cached(
            pruned(context, best),
            context.teacher,
            context.corpus,
            DistillConfig(arguments.rival_steps or steps, seed=arguments.seed),
            seconds=None,
            cache_dir=context.cache,
            reporter=Lines(),
        )
        name = f"rival of {count}"
        files[name] = folder / f"rival-{count}.onnx"
        emit(trained, files[name])
        scores[name] = judge(name, files[name])
        about[name] = {
            "layers_kept": [layer + 1 for layer in best],
            "loss_before_training": losses[best],
            "choices": len(losses),
            "steps": rival_steps,
        }

    print("all latencies together", file=sys.stderr)
    latencies = measure(context, files)

    def side(name: str) -> dict[str, Any]:
        found = latencies[name]
        latency = {"latency_ms": found.latency_ms, "upper_ms": found.upper_ms}
        return about[name] | latency | {"size_bytes": files[name].stat().st_size} | scores[name]

    def against(ours: str, layers: int) -> dict[str, Any]:
        rival = f"rival of {layers}"
        sts = scores[ours]["sts"] - scores[rival]["sts"]
        similarity = scores[ours]["similarity"] - scores[rival]["similarity"]
        return {
            "rival_over_our_latency": latencies[rival].latency_ms / latencies[ours].latency_ms,
            "sts_gain": sts,
            "sts_gain_90": judge.sts_gain(ours, rival),
            "similarity_gain": similarity,
            "not_below": sts >= 0 and similarity >= 0,
        }

    comparisons, gates = [], {}
    for fraction, limit in limits.items():
        within, following = rivals_at(limit, bounds)
        ours = f"ours at {fraction:g}"
        one: dict[str, Any] = {"fraction": fraction, "limit_ms": limit, "ours": side(ours)}
        one["rival"] = side(f"rival of {within}") if within else None
        one["rival_over_the_limit"] = side(f"rival of {following}") if following > within else None
        one["against_rival"] = against(ours, within) if within else None
        if following > within:
            one["against_rival_over_the_limit"] = against(ours, following)
        if fraction in GATED:
            gates[f"{fraction:g}"] = one["against_rival"] and one["against_rival"]["not_below"]
        comparisons.append(one)
    return {
        "benchmark": "quality",
        "device": arguments.device,
        "precision": PRECISION,
        "text": context.corpus.description,
        "sts_pairs": len(judge.pair_similarities["teacher"]),
        "steps": steps,
        "supernet_steps": int(context.supernet.prepare().header["config"]["steps"]),
        "teacher": side("teacher"),
        "depths": {
            count: {"latency_ms": found.latency_ms, "upper_ms": found.upper_ms}
            for count, found in depths.items()
        },
        "comparisons": comparisons,
        "gates_met": gates,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sts", type=Path, required=True, help="dev.tsv of GLUE's STS-B (or .gz)")
    parser.add_argument("--corpus", nargs="+", default=[], help="text; default: that at hand")
    parser.add_argument("--device", default="host")
    parser.add_argument("--cache", type=Path, help="tables, networks; default: a new folder")
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.5, 0.25, 0.125])
    parser.add_argument(
        "--minutes", type=float, default=3.0, help="of distilling half of the layers, as steps"
    )
    parser.add_argument("--steps", type=int, help="of distilling each network, instead of minutes")
    parser.add_argument("--rival-steps", type=int, help="other steps for the rivals")
    # Not the supernet that comes with nasc: it may have seen the sentences that judge here.
    parser.add_argument(
        "--train-minutes", type=float, default=TRAIN_MINUTES, help="of the supernet"
    )
    parser.add_argument("--train-steps", type=int, help="of the supernet, instead of minutes")
    parser.add_argument("--pairs", type=int, help="only the first so many of STS-B")
    parser.add_argument("--sentences", type=int, default=JUDGING_SENTENCES, help="held out")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(arguments, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
