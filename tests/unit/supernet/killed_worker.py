"""Trainings of the toy supernet by `nasc.api`, saved after every step; the process may kill itself.

killed_worker.py '{"teacher": ..., "folders": [...], "shrink": {...} or null, "kill_after": 5}'
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import nasc.pipelines.train
from nasc import api
from nasc.latency.costs import TableCosts
from nasc.supernet import prepare
from nasc.supernet.candidates import candidates_of
from nasc.supernet.shrink import ShrinkConfig
from nasc.supernet.train import train
from nasc.utils.progress import Progress


class Listener:
    """Passes on what is said and the steps done; may kill the process after one."""

    def __init__(self, kill_after: int | None) -> None:
        self.kill_after = kill_after

    def say(self, text: str) -> None:
        print(json.dumps({"said": text}), flush=True)

    def stage(self, title: str) -> Progress:
        def progress(done: int, total: int, message: str) -> None:
            if message.startswith("block loss"):
                print(json.dumps({"step": done}), flush=True)
                if done == self.kill_after:
                    os.kill(os.getpid(), signal.SIGKILL)

        return progress


def main() -> None:
    """Train in every folder, one after the other."""
    asked = json.loads(sys.argv[1])
    shrink = None if asked["shrink"] is None else ShrinkConfig(**asked["shrink"])
    patched: Any = prepare
    patched.train = functools.partial(train, save_every_s=0)
    patched = nasc.pipelines.train
    patched.shrink_plan = lambda space, costs, config: prepare.ShrinkPlan(
        config, candidates_of(space, lambda layer: float(layer.hidden_in), config.bins)
    )
    patched.measure_tables = lambda *about, **options: []  # no device is measured
    patched.check_teacher = lambda *about: None  # nor is a library imported, which takes seconds
    patched = TableCosts
    patched.of = lambda tables: None
    for folder in map(Path, asked["folders"]):
        api.train(
            output=folder / "supernet.safetensors",
            cache=folder,
            teacher=asked["teacher"],
            space=asked["space"],
            corpus=[asked["corpus"]],
            steps=asked["steps"],
            batch_size=8,
            learning_rate=3e-3,
            shrink=shrink,
            reporter=Listener(asked["kill_after"]),
        )


if __name__ == "__main__":
    main()
