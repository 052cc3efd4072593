"""The first steps of every kind of training at the shapes of the paper: time, memory, speed.

The teacher has the geometry of BERT-base and random weights: time and memory do not depend on
values. Every stage runs in a process of its own, so that its peak memory is its own:

* supernet: block-wise distillation in the space `nas-bert` (26 operations, 24 layers, 4 blocks);
* packed: the same on full rows from disk;
* shrinking: with a round of progressive shrinking before every tenth step;
* data, block: two processes of torchrun share the batches, or the blocks; memory is that of one;
* mlm: one subnet (`nas-bert-10m`) on masked words with the teacher's prediction;
* states: the same subnet on the teacher's hidden states;
* finetune, spans: the same subnet on a task of sentences, or on answers in passages, with a
  fine-tuned teacher's help.

Tokens per second count real tokens. Peak: the products (steps cost twice their multiply-accumulates
forward and four times backward; the teacher forward only) over those of a large square product in
torch, measured before and after. Text is made up of words of the vocabulary.

    python benchmarks/training/full_shapes.py --steps 20 > full_shapes.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from nasc.architecture.layers import layer_macs, layers
from nasc.architecture.space import PRESETS, Architecture
from nasc.architecture.zoo import ZOO
from nasc.data import load_corpus
from nasc.distillation.masked_lm import MaskedConfig, Pretraining, masked_teacher, student_of
from nasc.distillation.train import DistillConfig, distill
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import random_network
from nasc.supernet.batches import Batches, TrainBatches
from nasc.supernet.candidates import candidates_of
from nasc.supernet.packed import pack
from nasc.supernet.parallel import ALONE, Parallel
from nasc.supernet.sampling import sample_block
from nasc.supernet.scorer import Scorer
from nasc.supernet.shrink import ShrinkConfig, Shrinker, Shrinking
from nasc.supernet.supernet import Supernet
from nasc.supernet.train import TrainConfig, train
from nasc.tasks.finetune import FinetuneConfig, finetune
from nasc.tasks.models import TaskModel
from nasc.tasks.shipping import TaskOptions, task_model
from nasc.teacher import Teacher, default_teacher_folder, load_teacher
from nasc.utils.torch_device import use_fastest_threads

sys.path.append(str(Path(__file__).parents[1]))
from common import Lines

PARALLEL = ("data", "block")
SUBNET = ("mlm", "states", "finetune", "spans")
STAGES = ("supernet", "packed", "shrinking", *PARALLEL, *SUBNET)
PROCESSES = 2
SPACE = PRESETS["nas-bert"]
BATCH, LENGTH = 32, 128
WARM = 3
"""Steps whose time is not counted."""


def make_teacher(folder: Path) -> None:
    """BERT-base with random weights and a head for masked words, and a text for it."""
    tokenizer = AutoTokenizer.from_pretrained(default_teacher_folder())
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer))
    BertForMaskedLM(config).save_pretrained(folder / "teacher")
    tokenizer.save_pretrained(folder / "teacher")
    words = [w for w in tokenizer.get_vocab() if w.isalpha()]
    rng = np.random.default_rng(0)
    lines = (" ".join(rng.choice(words, 120)).capitalize() + "." for _ in range(3000))
    (folder / "text.txt").write_text("\n\n".join(lines), encoding="utf-8")


def peak_flops() -> float:
    """Floating-point operations per second of a large product."""
    x = torch.randn(2048, 2048)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        x @ x
        times.append(time.perf_counter() - start)
    return float(2 * 2048**3 / min(times))


def macs(architecture: Architecture, tokens: int) -> float:
    """Multiply-accumulates of a forward pass over so many tokens in rows of `LENGTH`."""
    found = layers(architecture, SPACE.geometry, "hidden")
    return sum(layer_macs(layer, SPACE.geometry, LENGTH) for layer in found) * tokens / LENGTH


class Clock:
    """Takes the time of steps, as a progress callback."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def __call__(self, done: int, total: int, message: str) -> None:
        self.at.append(time.perf_counter())

    def step_s(self) -> float:
        """Median of the steps that count."""
        return float(np.median(np.diff(self.at)[WARM:]))


def supernet_stage(teacher: Teacher, folder: Path, steps: int, stage: str) -> dict[str, float]:
    """Block-wise distillation; multiply-accumulates of the mean step."""
    corpus = load_corpus(str(folder / "text.txt"), seed=0)
    begin = time.perf_counter()
    supernet = Supernet(SPACE, teacher)
    with torch.no_grad():
        for parameter in supernet.blocks.parameters():
            parameter.normal_(0, 0.02)
    config = TrainConfig(steps=steps, batch_size=BATCH)
    batches: Batches
    if stage == "packed":
        source = (str(folder / "text.txt"),)
        batches, _ = pack(
            source,
            corpus,
            teacher,
            LENGTH,
            batch_size=BATCH,
            seed=0,
            cache_dir=folder / "cache",
            reporter=Lines(),
        )
    else:
        batches = TrainBatches(teacher.tokenize(corpus.train, max_length=LENGTH), BATCH, 0)
    shrinker = None
    if stage == "shrinking":
        shrink = ShrinkConfig(bins=10, keep=10, sample=4, warm_epochs=0, epoch_steps=10)
        candidates = candidates_of(SPACE, lambda layer: layer_macs(layer, SPACE.geometry, 128), 10)
        scorer = Scorer(supernet, [teacher.tokenize(corpus.heldout).batch(range(8), length=LENGTH)])
        shrinker = Shrinker(
            shrink,
            Shrinking.begin(candidates, SPACE.n_blocks),
            lambda p, c: scorer.block_losses(p, [candidates.blocks[i] for i in c]),
        )
    made_s = time.perf_counter() - begin
    clock = Clock()
    parallel = Parallel.from_environment(stage) if stage in PARALLEL else ALONE
    train(supernet, batches, config, parallel=parallel, shrinker=shrinker, progress=clock)
    parallel.leave()
    tokens = np.mean([int(batches.at(s).attention_mask.sum()) for s in range(steps)])
    student = 0.0
    for step in range(steps):
        rng = np.random.default_rng((0, step))
        paths = tuple(sample_block(SPACE, config.sampling, rng) for _ in range(SPACE.n_blocks))
        student += macs(Architecture(paths), int(tokens)) / steps
    work = macs(SPACE.teacher, int(tokens)) + 3 * student
    rounds = 0 if shrinker is None else shrinker.state.rounds
    return figures(clock, tokens, work) | {"made_s": made_s, "rounds": rounds}


def figures(clock: Clock, tokens: float, work: float) -> dict[str, float]:
    """What a stage reports."""
    return {
        "step_s": clock.step_s(),
        "tokens_per_s": tokens / clock.step_s(),
        "flops": 2 * work / clock.step_s(),
    }


def subnet_stage(teacher: Teacher, folder: Path, steps: int, stage: str) -> dict[str, float]:
    """One subnet, trained by itself."""
    corpus = load_corpus(str(folder / "text.txt"), seed=0)
    architecture = ZOO["nas-bert-10m"].architecture
    small = random_network(architecture, SPACE.geometry, "hidden", vocab_rows=1 << 20)
    full_size = teacher_network(teacher, SPACE.teacher, "hidden")
    tokens = teacher.tokenize(corpus.train, max_length=LENGTH)
    clock = Clock()
    begin = time.perf_counter()
    count = BATCH * LENGTH
    work = 3 * macs(architecture, count) + macs(SPACE.teacher, count)
    if stage == "mlm":
        masked = masked_teacher(full_size, folder / "teacher")
        assert masked is not None
        training = Pretraining(masked, teacher.tokenizer, tokens.rows())
        config = MaskedConfig(steps=steps, batch_size=BATCH)
        training.run(student_of(small, masked), config, folder / "mlm", clock)
        g = SPACE.geometry
        work += 4 * 0.15 * count * g.hidden * (g.hidden + g.vocab_size)
    elif stage == "states":
        batches = TrainBatches(tokens, BATCH, 0)
        distill(small, teacher, batches, DistillConfig(steps=steps, bf16=False), progress=clock)
    else:
        spans = stage == "spans"
        options = TaskOptions("squad" if spans else "sst-2", folder)
        models = [TaskModel(teacher.tokenizer, task_model(n, options)) for n in (small, full_size)]
        rows = [
            {"input_ids": row, "attention_mask": [1] * len(row)}
            | (
                {"start_positions": 1, "end_positions": 2}
                if stage == "spans"
                else {"labels": i % 2}
            )
            for i, row in enumerate(tokens.rows())
        ]
        tuning = FinetuneConfig(steps=steps, batch_size=BATCH, bf16=False)
        finetune(
            models[0], rows, tuning, work_dir=folder / "tune", teacher=models[1], progress=clock
        )
    return figures(clock, count, work) | {"made_s": clock.at[0] - begin}


def run_stage(stage: str, folder: Path, steps: int) -> dict[str, Any]:
    """One stage in this process."""
    threads = use_fastest_threads()
    teacher = load_teacher(folder / "teacher")
    peak = [peak_flops()]
    run: Callable[..., dict[str, float]] = subnet_stage if stage in SUBNET else supernet_stage
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    found = run(teacher, folder, steps, stage)
    peak.append(peak_flops())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return found | {
        "steps": steps,
        "threads": threads,
        "share_of_peak": found["flops"] / np.mean(peak) / processes,
        "processes": processes,
        "peak_gflops": [p / 1e9 for p in peak],
        "peak_memory_bytes": memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        result = run_stage(arguments.stages[0], arguments.folder, arguments.steps)
        if os.environ.get("RANK", "0") == "0":  # of several processes the first one speaks
            print(json.dumps(result))
        return
    found = {}
    with tempfile.TemporaryDirectory() as name:
        make_teacher(Path(name))
        for stage in arguments.stages:
            print(stage, file=sys.stderr)
            start = [sys.executable]
            if stage in PARALLEL:
                start += ["-m", "torch.distributed.run", "--nproc-per-node", f"{PROCESSES}"]
            command = [*start, __file__, "--stages", stage, "--folder", name]
            command += ["--steps", str(arguments.steps)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[stage] = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps({"benchmark": "full_shapes", "batch": BATCH, "stages": found}, indent=1))


if __name__ == "__main__":
    main()
