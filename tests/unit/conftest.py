"""Set-up of unit tests: what takes time and is the same for many of them is made once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

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
