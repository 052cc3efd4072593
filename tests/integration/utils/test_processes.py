"""Calls in several processes."""

from __future__ import annotations

import hashlib
import math
import operator
import os
import threading
import time
from pathlib import Path

import pytest

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.errors import NascError, TeacherDamaged
from nasc.lowering import lower_random
from nasc.teacher import load_teacher
from nasc.utils import processes
from nasc.utils.processes import run_in_processes

pytestmark = pytest.mark.slow


WHOLE = processes.usable_cores


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "usable_cores", lambda: 2)


def test_results_are_in_the_order_of_the_calls() -> None:
    assert run_in_processes(math.pow, [(2, n) for n in range(9)]) == [2.0**n for n in range(9)]


def test_they_run_in_other_processes_at_once() -> None:
    found = run_in_processes(time.sleep, [(0.2,)] * 2)
    assert found == [None, None]
    pids = set(run_in_processes(os.getpid, [()] * 8))
    assert os.getpid() not in pids
    assert len(pids) <= 2


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they start beside it, they start of their share."""
    monkeypatch.setattr(processes, "usable_cores", lambda: 7)
    shares = run_in_processes(os.getenv, [(processes._SHARE,)] * 2)
    assert shares == ["3", "3"]
    monkeypatch.setattr(processes, "usable_cores", WHOLE)
    monkeypatch.setenv(processes._SHARE, "1")
    assert run_in_processes(os.getpid, [()] * 2) == [os.getpid()] * 2


def test_one_call_or_one_core_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_in_processes(os.getpid, [()]) == [os.getpid()]
    assert run_in_processes(os.getpid, []) == []
    monkeypatch.setattr(processes, "usable_cores", lambda: 1)
    assert run_in_processes(os.getpid, [()] * 2) == [os.getpid()] * 2


def test_what_a_call_raises_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        run_in_processes(operator.truediv, [(1, 1), (1, 0), (1, 2)])
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(TeacherDamaged, match=r"config\.json"):
        run_in_processes(load_teacher, [(tmp_path,)] * 2)


def test_a_process_that_ends_is_an_error_and_leaves_none_behind() -> None:
    before = threading.active_count()
    with pytest.raises(NascError, match=r"ended \(exit code 3\)"):
        run_in_processes(os._exit, [(3,)] * 3)
    assert threading.active_count() == before


def test_networks_are_the_same_wherever_they_are_made(tmp_path: Path) -> None:
    geometry = Geometry(
        layers=1, hidden=32, head_size=16, intermediate=64, vocab_size=50, max_positions=16
    )
    settings = {"offered": ("fp32",), "processor": None, "shape": (1, 8)}
    made = []
    for folder, most in (("here", 1), ("there", 2)):
        (tmp_path / folder).mkdir()
        rest = (geometry, "embed", 20, tmp_path / folder)
        calls = [
            ("onnxruntime", Architecture((Block(32, (one,)),)), *rest, one, settings)
            for one in ("mha", "ffn")
        ]
        if most == 1:
            found = [lower_random(*call) for call in calls]
        else:
            found = run_in_processes(lower_random, calls)
        made.append([hashlib.sha256(one.path.read_bytes()).hexdigest() for one in found])
    assert made[0] == made[1]
    assert made[0][0] != made[0][1]
