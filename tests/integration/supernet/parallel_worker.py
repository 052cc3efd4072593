"""One process of a training that torchrun shares: trains the toy supernet, the first one writes.

With "sources" it prepares one of that text as `nasc train` does, under a budget of time; with
"made" it writes a file that is not there, in its turn.

torchrun --nproc-per-node 2 parallel_worker.py '{"teacher": ..., "kind": "data", ...}'

`take_part` is the same in a process that was forked, with the variables that torchrun would set.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from stopped import Stopped, stop_after
from supernet_toy import beginning, sentences, state, toy_space

from nasc.data import load_corpus
from nasc.supernet import parallel as module
from nasc.supernet.batches import TrainBatches
from nasc.supernet.candidates import candidates_of
from nasc.supernet.parallel import Parallel
from nasc.supernet.prepare import prepare
from nasc.supernet.scorer import Scorer
from nasc.supernet.shrink import ShrinkConfig, Shrinker, Shrinking
from nasc.supernet.train import TrainConfig, train
from nasc.teacher import Teacher, load_teacher
from nasc.utils.progress import Silent

module.TIMEOUT = datetime.timedelta(seconds=60)  # who waits for what never comes, fails


def take_part(asked: dict[str, Any], rank: int, world: int, port: int) -> None:
    """Do as told as one of so many processes on this machine."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    work(asked)


def work(asked: dict[str, Any]) -> None:
    """Do as told, together with the others."""
    parallel = Parallel.from_environment(asked["kind"])
    if "made" in asked:
        made_once(asked, parallel)
    elif "sources" in asked:
        prepared(asked, load_teacher(asked["teacher"]), parallel)
    else:
        trained(asked, load_teacher(asked["teacher"]), parallel)
    parallel.leave()
    deadline = time.monotonic() + 1.0  # one that was joined may still be on its way out of /proc
    while (left := [n for n in threads() if "gloo" in n]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left, f"threads that outlive the process group: {left}"


def threads() -> list[str]:
    """Names of this process's threads, Python's or not; none where they are not to be had."""
    found = []
    for task in Path("/proc/self/task").glob("*"):
        with contextlib.suppress(OSError):  # it ended just now
            found.append((task / "comm").read_text().strip())
    return found


def trained(asked: dict[str, Any], teacher: Teacher, parallel: Parallel) -> None:
    """Train the toy supernet; the first process writes weights and record."""
    tokens = teacher.tokenize(sentences(96))
    supernet = beginning(teacher, tokens)
    config = TrainConfig(**asked["config"])
    shrinker = None
    if asked.get("shrink"):
        shrink = ShrinkConfig(**asked["shrink"])
        scorer = Scorer(supernet, [tokens.batch(range(64, 72))])
        candidates = candidates_of(supernet.space, lambda layer: float(layer.hidden_in), 2)
        left = Shrinking.begin(candidates, 2)
        shrinker = Shrinker(
            shrink, left, lambda p, c: scorer.block_losses(p, [candidates.blocks[i] for i in c])
        )
    state_path = Path(asked["state"]) if "state" in asked else None
    batches = TrainBatches(tokens, config.batch_size, config.seed)
    try:
        record = train(
            supernet,
            batches,
            config,
            parallel=parallel,
            shrinker=shrinker,
            state_path=state_path,
            save_every_s=0,
            progress=stop_after(asked["stop"]) if "stop" in asked else None,
        )
    except Stopped:
        record = None
    if parallel.is_first:
        found = {"record": record, "weights": state(supernet)}
        if shrinker is not None:
            found["alive"] = torch.from_numpy(shrinker.state.alive)
        torch.save(found, asked["out"])


def made_once(asked: dict[str, Any], parallel: Parallel) -> None:
    """Write a file in turn; the first process writes what all of them read in it."""

    def make() -> str:
        path = Path(asked["made"])
        if not path.exists():
            time.sleep(0.5)  # who does not wait comes in between
            path.write_text(f"made by {parallel.rank}", encoding="utf-8")
        return path.read_text(encoding="utf-8")

    own = parallel.in_turn(make)
    found = parallel.map(lambda rank: own, range(parallel.world))
    if parallel.is_first:
        torch.save({"found": found}, asked["out"])


def prepared(asked: dict[str, Any], teacher: Teacher, parallel: Parallel) -> None:
    """Prepare a supernet; the first process writes weights and record."""
    found = prepare(
        teacher,
        toy_space(teacher, operations=("mha", "ffn"), slots=2),
        load_corpus(asked["sources"], seed=0),
        TrainConfig(**asked["config"]),
        seconds=asked["seconds"],
        cache_dir=Path(asked["cache"]),
        reporter=Silent(),
        sources=tuple(asked["sources"]),
        parallel=parallel,
    )
    if parallel.is_first:
        torch.save({"record": dict(found.header), "weights": state(found.supernet)}, asked["out"])


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
