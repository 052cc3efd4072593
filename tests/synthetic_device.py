"""A device whose layers have known costs, measured with noise. The drift of clocks is the
profilers' job; here is only what is left of it."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import pandas as pd

from device_profiles import Noise
from nasc.architecture.space import Architecture, Geometry, SearchSpace
from nasc.latency.basis import Basis
from nasc.latency.cache_misses import Streaming, network_streamed_params
from nasc.latency.key import LatencyKey
from nasc.latency.plan import Plan, plan
from nasc.latency.predict import Fit, Observation, fit
from nasc.latency.table import MEASURED_COLUMNS, LatencyTable, entries_of

TINY = SearchSpace(
    "tiny",
    Geometry(layers=4, hidden=32, head_size=8, intermediate=64, vocab_size=100, max_positions=128),
    n_blocks=2,
    slots=3,
    hidden_sizes=(16, 32),
    operations=("mha", "ffn", "sep3"),
)

NOISE = 0.008


class SyntheticDevice:
    """Adds up known costs, so that every prediction has a truth to be held against."""

    def __init__(
        self,
        basis: Basis,
        seed: int = 0,
        noise: float = NOISE,
        streaming: Streaming = Streaming(),  # noqa: B008
    ) -> None:
        rng = np.random.default_rng([seed, 1])
        self.streaming = streaming
        self.basis = basis
        self.noise = noise
        self.costs = basis.nominal() * np.exp(rng.normal(0, 0.4, len(basis.unknowns)))
        self._rng = rng

    def exact_ms(self, architecture: Architecture) -> float:
        total = float(self.basis.row(architecture) @ self.costs)
        geometry, head = self.basis.space.geometry, self.basis.head
        return total + self.streaming.extra_ms(
            network_streamed_params(architecture, geometry, head)
        )

    def shift(self) -> float:
        """By what a whole measurement lies off."""
        return float(self._rng.normal(0, Noise().shift))

    def measure_ms(self, architecture: Architecture) -> float:
        return self.exact_ms(architecture) * (1 + self._rng.normal(0, self.noise))

    def observe(self, planned: Plan) -> list[Observation]:
        found = []
        for network in planned.networks:
            latency = self.measure_ms(network.architecture)
            held_out = network.role == "random"
            found.append(Observation(network.architecture, latency, 0.004, held_out))
        return found


def fitted(
    space: SearchSpace,
    seed: int,
    noise: float = NOISE,
    streaming: Streaming = Streaming(),  # noqa: B008
) -> tuple[SyntheticDevice, Fit]:
    """A device that was observed once, and the costs that this gave; solved once a process."""
    _, device, _, solved = _solved(space, seed, "fp32", 32, noise, streaming)
    return copy.deepcopy(device), solved  # it goes on drawing where the observations ended


@functools.cache
def _solved(
    space: SearchSpace, seed: int, precision: str, seq_len: int, noise: float, streaming: Streaming
) -> tuple[Plan, SyntheticDevice, tuple[Observation, ...], Fit]:
    planned = plan(space, seed, precision=precision, seq_len=seq_len)
    device = SyntheticDevice(planned.basis, seed, noise, streaming)
    observations = device.observe(planned)
    return planned, device, tuple(observations), fit(planned.basis, observations, noise=Noise())


def make_key(**changes: Any) -> LatencyKey:
    """The key of a table that the synthetic device has."""
    values: dict[str, Any] = {
        "device": "host",
        "precision": "int8",
        "geometry": TINY.geometry,
        "fingerprint": "0123456789abcdef",
        "runtime_version": "1.32.0",
        "options": '{"arena": true}',
        "emitter_version": 1,
        "statistic": "paired-ratio-median",
        "reference": "fedcba9876543210",
        "quiet_ms": 3.9,
    }
    return LatencyKey(**values | changes)


def make_table(
    space: SearchSpace = TINY,
    *,
    precision: str = "int8",
    device: str = "host",
    seq_len: int = 32,
    threads: int = 1,
    seed: int = 0,
    streaming: Streaming | None = None,
    created: str = "2026-11-03T10:00:00.000000+00:00",
    **changes: Any,
) -> LatencyTable:
    """A table on which little is measured; `changes` are those of its key."""
    planned, _, observations, solved = _solved(space, seed, precision, seq_len, NOISE, Streaming())
    measured = [
        (n.role, o.latency_ms, o.latency_ms * 0.99, o.latency_ms * 1.006, o.latency_ms, n.name)
        for n, o in zip(planned.networks, observations, strict=True)
    ]
    return LatencyTable(
        key=make_key(
            device=device,
            precision=precision,
            geometry=space.geometry,
            seq_len=seq_len,
            threads=threads,
            **changes,
        ),
        space=space,
        seed=seed,
        entries=entries_of(planned.basis, solved),
        streaming=streaming or solved.streaming,
        interval=solved.interval,
        held_out=tuple(float(value) for value in solved.held_out),
        measured=pd.DataFrame(measured, columns=MEASURED_COLUMNS),
        context={"cpu": {"model": "synthetic, \u00e9 # 1"}, "busy": False},
        runtime_base_bytes=50_000_000,
        times={"emit_s": 0.5, "measure_s": 60.0, "fit_s": 0.2},
        created=created,
    )
