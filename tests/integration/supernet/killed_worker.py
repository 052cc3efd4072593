"""Trainings of the toy supernet by `nasc.api`, saved at every step, which may kill themselves."""

from __future__ import annotations

import functools
import json
import os
import signal
from pathlib import Path
from typing import Any, TextIO

import torch

import nasc.pipelines.train
from nasc import api
from nasc.latency.costs import TableCosts
from nasc.supernet import prepare
from nasc.supernet.candidates import candidates_of
from nasc.supernet.shrink import ShrinkConfig
from nasc.supernet.train import train
from nasc.utils.progress import Progress


class Listener:
    """Writes what is said and the steps done, a line each; may kill the process after a step."""

    def __init__(self, told: TextIO, kill_after: int | None) -> None:
        self.told = told
        self.kill_after = kill_after

    def say(self, text: str) -> None:
        print(json.dumps({"said": text}), file=self.told, flush=True)

    def stage(self, title: str) -> Progress:
        def progress(done: int, total: int, message: str) -> None:
            if message.startswith("block loss"):
                print(json.dumps({"step": done}), file=self.told, flush=True)
                if done == self.kill_after:
                    os.kill(os.getpid(), signal.SIGKILL)

        return progress


def work(asked: dict[str, Any], told: Path) -> None:
    """Train in every folder, one after the other.

    Args:
        asked: "teacher", "space", "corpus", "steps", "folders", "shrink" (settings or None) and
            "kill_after" (a step or None).
        told: The file for what is reported.
    """
    torch.set_num_threads(1)
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
    with told.open("w", encoding="utf-8") as file:
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
                reporter=Listener(file, asked["kill_after"]),
            )
