"""Set-up of unit tests: what takes time and is the same for many of them is made once."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasc.networks.network import Network, random_network


@pytest.fixture(autouse=True)
def no_adb(monkeypatch: pytest.MonkeyPatch) -> None:
    """adb is not installed: it would list what is attached here, and leave its server running."""
    monkeypatch.setattr("profilers.devices.phones.PROGRAM", "/nonexistent/adb")
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)


@functools.cache
def _drawn(*about: Any, **options: Any) -> Network:
    """A network of random weights, which lie by themselves: those drawn are of a pool of 4 MB."""
    network = random_network(*about, **options)
    own = tuple({name: value.copy() for name, value in one.items()} for one in network.tensors)
    return dataclasses.replace(network, tensors=own)


@pytest.fixture(scope="module")
def networks_drawn_once() -> Iterator[None]:
    """Tables of the same plan are made of the same networks: to draw one takes 20 ms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasc.networks.network.random_network", _drawn)
        yield


WORDS = "the cat sat mat dog sun house big small ran slept on".split()


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of SQuAD: 14 paragraphs of words, each with two questions of some of these."""
    rng = np.random.default_rng(0)
    paragraphs = []
    for i in range(14):
        words = list(rng.choice(WORDS, 9))
        context = " ".join(words)
        qas = [
            {
                "id": f"{i}-{k}",
                "question": " ".join(words[k : k + 6]),
                "answers": [{"text": words[0], "answer_start": 0}],
            }
            for k in range(2)
        ]
        paragraphs.append({"context": context, "qas": qas})
    path = tmp_path_factory.mktemp("squad") / "dev-v1.1.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return path
