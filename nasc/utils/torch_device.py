"""What torch computes fastest with on this machine: device, threads, and number formats."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

PROBE_TOKENS, PROBE_INNER, PROBE_OUTER = 512, 384, 1536
PROBE_REPEATS = 5
PROBE_ROUNDS = 12
"""Every number of threads is timed once a round: what else runs on the machine changes within
tenths of a second."""


@contextmanager
def attention_without_cudnn() -> Iterator[None]:
    """Inside, a GPU's attention leaves cuDNN out, which plans anew for every length of a batch.

    On an H100 with torch 2.11 the first call of a shape took 16 ms, forward and backward.
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


@functools.cache
def use_fastest_threads() -> int:
    """Set torch's threads to the number that is fastest now; gives it.

    Threads of one product wait for each other: on a machine that is busy with something
    else, two threads can take many times as long as one. ``OMP_NUM_THREADS`` wins over the
    measurement, and makes runs repeat to the last digit.
    """
    if os.environ.get("OMP_NUM_THREADS"):
        return torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    counts = [1]
    while 2 * counts[-1] <= (cores or 1):
        counts.append(2 * counts[-1])
    seconds = dict.fromkeys(counts, 0.0)
    for _ in range(PROBE_ROUNDS if len(counts) > 1 else 0):
        for threads in counts:
            seconds[threads] += _probe(threads)
    best = 1
    for threads in counts:
        if seconds[threads] < 0.9 * seconds[best]:
            best = threads
    torch.set_num_threads(best)
    return best


def training_device() -> torch.device:
    """Where trainings of one process compute: on the GPU where torch finds one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16(device: torch.device | None = None) -> bool:
    """Whether an x86 processor, or a GPU, multiplies matrices of bfloat16 in hardware.

    On processors that is AVX512-BF16 or AMX; elsewhere torch emulates them, slower than in float32.
    What ARM processors do has not been measured: they compute in float32.

    Args:
        device: Where torch computes; None is the processor.
    """
    if device is not None and device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def _probe(threads: int) -> float:
    """Median seconds of a product followed by small operations, as in a transformer layer."""
    torch.set_num_threads(threads)
    x, w = torch.randn(PROBE_TOKENS, PROBE_INNER), torch.randn(PROBE_OUTER, PROBE_INNER)
    times = []
    for _ in range(1 + PROBE_REPEATS):
        start = time.perf_counter()
        y = torch.nn.functional.gelu(torch.nn.functional.linear(x, w))
        torch.nn.functional.layer_norm(y, (PROBE_OUTER,))
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[PROBE_REPEATS // 2]  # the first one wakes the threads
