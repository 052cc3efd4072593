"""What packages are worth at shares of the int8 teacher's latency, beside two rivals.

Four networks at a share, each the same steps of distillation from the same teacher on the same
text, exported in int8 and judged as shipped:

- ours: the package of `nasc.compile` under the limit. It starts from the supernet that comes with
  nasc, whose training comes before and was on the same text; what the losers of the
  halving are trained comes on top;
- depth: the teacher with layers dropped, as many kept as the limit allows, the best choice of them
  by loss; where not even one layer fits, the one, over the limit;
- narrow: all layers at one smaller hidden size, the largest that the limit allows, started from
  the teacher's weights as our candidates are. One such is a candidate of ours, too;
- deep: also ours, out of the same supernet, but the search sees only blocks of as many operations
  as the limit allows in all of them. It never enters the halving of `nasc.compile` and is here to
  tell what tasks make of depth. Not at 1/8: left out for time.

Ours must hold the limit with the upper end of its measured interval, rivals with the latency.

Each is asked for the paragraphs that answer questions of SQuAD's dev file, and then fine-tuned on
every task with the same help of the fine-tuned teacher. Every result is a row of a table,
`results.jsonl`: what is there is not done again, so the grid runs in as many sittings as it takes,
under the same conditions or not at all. At the end all networks are measured once more, in turn.
`quality_report.py` makes the document of them.

    python benchmarks/quality/quality_grid.py --glue GLUE --squad SQUAD --corpus TEXT

Where all networks are there, several processes can share the tasks out by ``--tasks``.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import shutil
import sys
import time
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from quality import (
    PRECISION,
    RUNTIME,
    Judge,
    found_paragraphs,
    measure,
    pruned,
    rivals_at,
    steps_in,
    true_losses,
)
from results import TABLE, Results

from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.data.heldout import JUDGING_SENTENCES
from nasc.distillation.train import DistillConfig, distill_cached
from nasc.errors import InfeasibleLimits
from nasc.evaluation.encode_blocks import encode_blocks
from nasc.evaluation.encoder import Encoder
from nasc.export.onnx import emit
from nasc.hf import NascModel
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.pipelines.compile import compile
from nasc.pipelines.options import Options
from nasc.selection.problems import problem_of
from nasc.selection.successive_halving import best_of, restricted
from nasc.solver.problem import Limits
from nasc.supernet.checkpoint import read_supernet_header
from nasc.supernet.teacher_narrowing import narrowed_network
from nasc.tasks import squad
from nasc.tasks.data import task_files
from nasc.tasks.finetune import FinetuneConfig
from nasc.tasks.glue import find_task, read_examples
from nasc.tasks.metrics import scores
from nasc.tasks.retrieval import Retrieval, read_retrieval
from nasc.tasks.shipping import PackagedTask, TaskOptions
from nasc.tasks.sts import read_sts
from nasc.teacher import quiet_transformers
from nasc.utils.files import content_key
from profilers.context import read_context

sys.path.append(str(Path(__file__).parents[1]))
from common import Lines

FRACTIONS = (0.5, 0.25, 0.125)
SYSTEMS = ("ours", "deep", "depth", "narrow")
OURS = ("ours", "deep")
"""Those out of the supernet."""

ROWS = [("teacher", 1.0)] + [
    (s, f) for f in FRACTIONS for s in SYSTEMS if (s, f) != ("deep", 0.125)
]


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """How much of a task is learnt from, and how often."""

    name: str
    folder: str
    examples: int | None
    seeds: int
    config: FinetuneConfig

    def settings(self, seed: int) -> dict[str, Any]:
        """What a result on the task depends on, as JSON has it."""
        config = dataclasses.replace(self.config, seed=seed)
        return {"examples": self.examples} | dataclasses.asdict(config)


TASKS = (
    Task("sst-2", "SST-2", 10_000, 1, FinetuneConfig(learning_rate=2e-4)),
    Task("mrpc", "MRPC", None, 3, FinetuneConfig()),
    Task("cola", "CoLA", 4_000, 3, FinetuneConfig(learning_rate=2e-4)),
    Task("rte", "RTE", None, 3, FinetuneConfig()),
    Task("squad", "", 3_000, 1, FinetuneConfig(epochs=2, learning_rate=1e-4, max_length=256)),
)


QUESTIONS = 2000
"""That are asked for their paragraphs, of 10,570."""


class Grid:
    """All results, made when first asked for."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.results = Results(arguments.results)
        arguments.results.parent.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(
            corpus=tuple(arguments.corpus),
            runtime=RUNTIME,
            precisions=(PRECISION,),
            cache=arguments.cache,
        )
        self.context = RunContext(self.settings, Lines())
        self.identity = self.identified()
        self.files = self.context.cache / "grid" / content_key(self.identity)
        self.files.mkdir(parents=True, exist_ok=True)

    def identified(self) -> dict[str, Any]:
        """What all results have in common; the supernet is a matter of ours alone.

        Raises:
            SystemExit: If the supernet was trained on other text: what is held out of this one may
                have been seen there.
        """
        context, path = self.context, self.context.supernet_path
        if path is None:
            raise SystemExit("no supernet comes with nasc for the default teacher")
        header = read_supernet_header(path)
        if header["text"]["sha256"] != context.corpus.sha256:
            raise SystemExit(
                f"the supernet {path.name} was trained on {header['text']['description']} "
                f"({header['text']['sha256'][:12]}), which is not this text "
                f"({context.corpus.sha256[:12]}): give the same --corpus"
            )
        return {
            "processor": read_context()["fingerprint"],
            "teacher": context.teacher.sha256,
            "text": context.corpus.sha256,
            "minutes": self.arguments.minutes,
        }

    @cached_property
    def supernet(self) -> str:
        """Sha256 of the file that ours are out of."""
        path = self.context.supernet_path
        assert path is not None  # see `identified`
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def cell(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """One result: from the table, or made now."""
        if not self.done(name):
            print(f"{time.strftime('%H:%M')} {name}", file=sys.stderr)
            start = time.monotonic()
            found = make() | {"seconds": round(time.monotonic() - start, 1)}
            self.results.add(name, found)
        return self.read(name)

    def read(self, name: str) -> dict[str, Any]:
        """A result that is there."""
        return self.results.rows()[name]

    @cached_property
    def judge(self) -> Judge:
        pairs = read_sts(self.arguments.glue / "STS-B" / "dev.tsv.gz")
        return Judge(self.context, pairs, JUDGING_SENTENCES)

    @cached_property
    def asked(self) -> Retrieval:
        """Some of SQuAD's questions, and all paragraphs of its dev file."""
        _, dev = task_files(squad.NAME, self.arguments.squad)
        return read_retrieval(dev, QUESTIONS, seed=0)

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """Steps of each distillation, and latencies of the teacher by depth and width."""

        def make() -> dict[str, Any]:
            layers = self.context.teacher.geometry.layers
            networks = {
                f"depth {n}": pruned(self.context, tuple(range(n))) for n in range(1, layers + 1)
            } | {f"width {h}": self.narrow(h) for h in self.widths}
            files = {}
            for name, network in networks.items():
                files[name] = self.files / f"{name}.onnx"
                emit(network, files[name])
            found = measure(self.context, files)
            return {
                "identity": self.identity,
                "steps": steps_in(self.context, self.arguments.minutes),
                "text": self.context.corpus.description,
                "sentences": len(self.context.corpus.train),
                "latency_ms": {name: [m.latency_ms, m.upper_ms] for name, m in found.items()},
            }

        found = self.cell("conditions", make)
        for name, value in self.identity.items():
            if found["identity"].get(name) != value:
                raise SystemExit(
                    f"the results in '{self.results.path}' are of another {name}: "
                    f"{found['identity'].get(name)}, not {value}. Name another: --results FILE"
                )
        return found

    @property
    def widths(self) -> range:
        g = self.context.teacher.geometry
        return range(g.head_size, g.hidden, g.head_size)

    def limit_ms(self, fraction: float) -> float:
        layers = self.context.teacher.geometry.layers
        return fraction * float(self.conditions["latency_ms"][f"depth {layers}"][0])

    def narrow(self, hidden: int) -> Network:
        """The whole teacher at a smaller hidden size, started from its weights."""
        context = self.context
        texts, head = context.corpus.train, context.head
        return narrowed_network(context.teacher, hidden, texts, PRECISION, head)

    def deep(self, fraction: float) -> Network:
        """The best subnet whose blocks all have as many operations as the limit allows."""
        context = self.context
        limits = Limits(latency_ms=self.limit_ms(fraction))
        problem = problem_of(context, limits, [Variant(RUNTIME, PRECISION)])
        for least in range(context.space.slots, 0, -1):
            within = restricted(problem, lambda b, n=least: len(b.operations) >= n)  # type: ignore[misc]
            if within is None:
                continue
            try:
                best = best_of(context, within)
            except InfeasibleLimits:
                continue
            cut = context.supernet.prepare().supernet.extract
            return cut(best.solution.architecture, self.context.head)
        raise SystemExit(f"no network of one operation in every block fits 1/{1 / fraction:g}")

    def distilled(self, network: Network) -> Network:
        config = DistillConfig(steps=self.conditions["steps"])
        context = self.context
        return distill_cached(
            network,
            context.teacher,
            context.corpus,
            config,
            seconds=None,
            cache_dir=context.cache,
            reporter=Lines(),
        )[0]

    def rival(self, system: str, fraction: float) -> Network:
        """A rival before its training."""
        limit, measured = self.limit_ms(fraction), self.conditions["latency_ms"]
        if system == "narrow":
            fits = [h for h in self.widths if measured[f"width {h}"][0] <= limit]
            return self.narrow(max(fits, default=self.widths[0]))
        layers = range(1, self.context.teacher.geometry.layers + 1)
        count, _ = rivals_at(limit, {n: measured[f"depth {n}"][0] for n in layers})
        losses = true_losses(self.context, max(count, 1))
        return pruned(self.context, min(losses, key=losses.__getitem__))

    def kept(self, system: str, fraction: float) -> Network:
        """The network of a row: from its folder, or made now.

        It is made anew where its row is not there yet: what is in the cache may have been chosen
        or trained by other code, or under the conditions of another table.
        """
        row = f"{system}-{fraction:g}"
        folder = self.files / row
        if not (folder.exists() and self.done(row)):
            shutil.rmtree(folder, ignore_errors=True)
            part = folder.with_name(f"{folder.name}.part")
            with quiet_transformers():
                NascModel.from_network(self.network(system, fraction)).save_pretrained(part)
            part.rename(folder)
        with quiet_transformers():
            model = NascModel.from_pretrained(folder)
        return model.network(self.context.head).with_precision(PRECISION)

    def network(self, system: str, fraction: float) -> Network:
        """A network after its distillation."""
        if system == "teacher":
            space = self.context.whole_space
            return teacher_network(self.context.teacher, space.teacher.with_precision(PRECISION))
        if system == "deep":
            return self.distilled(self.deep(fraction))
        if system != "ours":
            return self.distilled(self.rival(system, fraction))
        steps = self.conditions["steps"]
        options = Options(
            distill_steps=steps, output=self.files / f"package-{fraction:g}", force=True
        )
        limits = Limits(latency_ms=self.limit_ms(fraction))
        return compile(limits, self.settings, options, Lines()).network

    def run(self) -> None:
        """Everything that is not there yet: all networks first, then task by task."""
        _ = self.conditions
        for system, fraction in ROWS:
            row = f"{system}-{fraction:g}"
            if system in OURS and self.done(row):
                self.check_supernet(row)
            if self.done(row) and all(self.done(name) for name, _, _ in self.names(row)):
                continue
            network = self.kept(system, fraction)
            ours = {"supernet": self.supernet} if system in OURS else {}
            body = self.cell(row, lambda n=network, o=ours: self.body(n) | o)  # type: ignore[misc]
            if body["sha256"] != network.sha256():
                self.refuse(row, "is of another network")
        self.cell("majority", self.majority)
        found = self.cell("latencies", self.latencies)
        for row, sha256 in found["sha256"].items():
            if self.read(row)["sha256"] != sha256:
                self.refuse("latencies", f"is of another {row}")
        for place in range(len(self.names(""))):
            for system, fraction in ROWS:
                name, task, seed = self.names(f"{system}-{fraction:g}")[place]
                if task.name not in self.arguments.tasks:
                    continue
                if not self.done(name):
                    network = self.kept(system, fraction)
                    self.cell(name, partial(self.learnt, network, task, seed))
                found = self.read(name)
                if found["settings"] != task.settings(seed):
                    self.refuse(name, "was learnt with other settings")
                row = f"{system}-{fraction:g}"
                if found["sha256"] != self.read(row)["sha256"]:
                    self.refuse(name, f"is of another network than {row}")

    def refuse(self, name: str, why: str) -> NoReturn:
        """Leave because of a row.

        Raises:
            SystemExit: Always.
        """
        raise SystemExit(f"{name} {why}: take its row out of '{self.results.path}'")

    def check_supernet(self, name: str) -> None:
        """Leave unless a result came out of the supernet that is there.

        Raises:
            SystemExit: If it is another one.
        """
        found = self.read(name)["supernet"]
        if found != self.supernet:
            self.refuse(name, f"is out of another supernet ({found[:12]})")

    def majority(self) -> dict[str, Any]:
        """Scores of naming the most frequent class of the dev file for all of it, by task."""
        found = {}
        for task in TASKS:
            if task.name == squad.NAME:
                continue
            _, dev = task_files(task.name, self.arguments.glue / task.folder)
            examples = read_examples(find_task(task.name), dev)
            counts = np.bincount(examples.labels, minlength=examples.task.outputs)
            outputs = np.tile(counts, (len(examples), 1))
            found[task.name] = dict(scores(examples.task, outputs, examples))
        return {"scores": found}

    def latencies(self) -> dict[str, Any]:
        """Of all networks, measured in turn."""
        files, sha256 = {}, {}
        for system, fraction in ROWS:
            row = f"{system}-{fraction:g}"
            files[row] = self.files / f"{row}.onnx"
            network = self.kept(system, fraction)
            sha256[row] = network.sha256()
            emit(network, files[row])
        found = measure(self.context, files)
        latency_ms = {n: [m.latency_ms, m.upper_ms] for n, m in found.items()}
        return {"sha256": sha256, "latency_ms": latency_ms}

    def names(self, row: str) -> list[tuple[str, Task, int]]:
        """Results of a row on tasks, the first seed of all tasks first."""
        seeds = range(max(task.seeds for task in TASKS))
        return [(f"{row}-{t.name}-{s}", t, s) for s in seeds for t in TASKS if s < t.seeds]

    def done(self, name: str) -> bool:
        return name in self.results.rows()

    def body(self, network: Network) -> dict[str, Any]:
        """Latency, agreement and retrieval of a network as shipped."""
        path, teacher = self.files / "body.onnx", self.context.teacher
        emit(network, path)
        latency = measure(self.context, {"body": path})["body"]
        alone = Encoder(path, teacher.tokenizer, max_length=teacher.max_length, batch_size=1)
        questions, paragraphs = (
            encode_blocks(alone.encode, texts)
            for texts in (self.asked.questions, self.asked.paragraphs)
        )
        found = found_paragraphs(self.asked, questions, paragraphs)
        return (
            self.judge("body", path)
            | found
            | {
                "architecture": str(network.architecture),
                "sha256": network.sha256(),
                "params": network.params,
                "size_bytes": path.stat().st_size,
                "latency_ms": latency.latency_ms,
                "upper_ms": latency.upper_ms,
            }
        )

    def learnt(self, network: Network, task: Task, seed: int) -> dict[str, Any]:
        """Scores of a network on a task, as shipped."""
        a, context = self.arguments, self.context
        data = a.squad if task.name == squad.NAME else a.glue / task.folder
        config = dataclasses.replace(task.config, seed=seed)
        options = TaskOptions(task.name, data, examples=task.examples, config=config)
        full = teacher_network(context.teacher, context.whole_space.teacher)
        shipping = PackagedTask(options, full, context.teacher.tokenizer, context.cache, Lines())
        tuned = shipping.finetune(network).with_head(options.head)
        artifact = context.session(RUNTIME).lower(tuned, self.files, task.name)
        return {
            "sha256": network.sha256(),
            "settings": task.settings(seed),
            "scores": shipping.scores(artifact),
            "train_examples": shipping.train_count,
            "dev_examples": shipping.dev_count,
        }


def parser(about: str | None) -> argparse.ArgumentParser:
    """The options of the grid."""
    found = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--results", type=Path, default=TABLE, help="table; default: %(default)s")
    found.add_argument("--glue", type=Path, required=True, help="folder of GLUE's folders")
    found.add_argument("--squad", type=Path, required=True, help="folder of SQuAD's files")
    found.add_argument("--corpus", nargs="+", required=True, help="text of the supernet")
    found.add_argument("--minutes", type=float, default=5.0, help="of each distillation, as steps")
    found.add_argument("--cache", type=Path, help="tables, networks; default: the user's")
    names = [task.name for task in TASKS]
    found.add_argument("--tasks", nargs="+", choices=names, default=names, help="default: all")
    return found


if __name__ == "__main__":
    Grid(parser(__doc__).parse_args()).run()
