"""What the processor at hand does in hardware."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from nasc.utils import torch_device
from nasc.utils.torch_device import attention_without_cudnn, has_bf16, training_device


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_f": True}, False),
        ({"avx512_f": True, "avx512_bf16": True}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({}, False),
    ],
)
def test_bfloat16_is_taken_only_where_the_hardware_has_it(
    capabilities: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert has_bf16() is expected
    assert has_bf16(torch.device("cpu")) is expected


def test_a_gpu_answers_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert has_bf16(torch.device("cuda")) is False


@pytest.mark.parametrize("found", [False, True])
def test_trainings_take_the_gpu_that_is_there(found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert training_device().type == ("cuda" if found else "cpu")


def test_attention_leaves_cudnn_out_only_inside() -> None:
    before = torch.backends.cuda.cudnn_sdp_enabled()

    @attention_without_cudnn()
    def interrupted() -> None:
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert torch.backends.cuda.cudnn_sdp_enabled() == before


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Numbers of threads that torch was set to, on four cores that nobody chose between."""
    set_to: list[int] = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    torch_device.use_fastest_threads.cache_clear()
    yield set_to
    torch_device.use_fastest_threads.cache_clear()


def test_threads_are_timed_in_turn_so_that_one_bad_moment_does_not_decide(
    threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def probe(count: int) -> float:
        asked.append(count)
        disturbed = len(asked) < 6  # two rounds, in which more threads only wait
        return {1: 1.0, 2: 2.0, 4: 3.0}[count] if disturbed else {1: 1.0, 2: 0.6, 4: 0.59}[count]

    monkeypatch.setattr(torch_device, "_probe", probe)
    assert torch_device.use_fastest_threads() == 2  # four gain less than a tenth over two
    assert threads == [2]
    assert asked[:6] == [1, 2, 4, 1, 2, 4]


def test_given_threads_are_kept(threads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr(torch_device, "_probe", lambda count: pytest.fail("timed"))
    assert torch_device.use_fastest_threads() == torch.get_num_threads()
    assert not threads
