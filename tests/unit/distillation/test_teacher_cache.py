"""Batches that are seen several times, and the teacher's states that are worked out once."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from nasc.data.tokens import Batch, Tokens
from nasc.distillation import teacher_cache as module
from nasc.distillation.teacher_cache import Schedule, TeacherBatches, window_of
from nasc.distillation.train import most_within
from nasc.supernet.batches import TrainBatches

SENTENCES, LENGTH, SIZE = 24, 5, 4


@pytest.fixture
def batches() -> TrainBatches:
    flat = torch.arange(SENTENCES * LENGTH, dtype=torch.int32)
    offsets = torch.arange(0, SENTENCES * LENGTH + 1, LENGTH)
    return TrainBatches(Tokens(flat, offsets, pad_id=0), SIZE, seed=3)


@pytest.fixture(autouse=True)
def no_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_BATCHES", 1)


class Teacher:
    """Tells the ids it was asked about, times a number that half precision rounds."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, batch: Batch) -> torch.Tensor:
        self.asked.append(int(batch.input_ids[0, 0]))
        return 0.1 * batch.input_ids[..., None].float()


def schedule(steps: int, passes: int = 2, window: int = 100, available: int = 6) -> Schedule:
    return Schedule(steps, passes, window, available, seed=3)


def indices(plan: Schedule) -> list[int]:
    return [plan.at(step)[1] for step in range(plan.steps)]


@pytest.mark.parametrize(
    ("plan", "seen"),
    [
        (schedule(8, 2), {0: 2, 1: 2, 2: 2, 3: 2}),
        (schedule(9, 3), {0: 3, 1: 3, 2: 3}),
        (schedule(4, 1), {0: 1, 1: 1, 2: 1, 3: 1}),
        (schedule(18, 2), dict.fromkeys(range(6), 3)),  # a short text
        (schedule(12, 2, window=2, available=50), dict.fromkeys(range(6), 2)),  # three windows
        (schedule(10, 2, window=3, available=50), dict.fromkeys(range(5), 2)),
        (schedule(0), {}),
    ],
)
def test_how_often_batches_are_seen_and_the_teacher_asked(
    plan: Schedule, seen: dict[int, int], batches: TrainBatches
) -> None:
    assert Counter(indices(plan)) == seen
    assert plan.teacher_calls == len(seen)
    teacher = Teacher()
    taught = TeacherBatches(batches, plan, teacher)
    for step in range(plan.steps):
        taught.at(step)
    assert len(teacher.asked) == plan.teacher_calls


def test_windows_follow_the_text_and_orders_differ() -> None:
    found = indices(schedule(40, 4, window=5, available=50))
    assert [sorted(set(found[i : i + 20])) for i in (0, 20)] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    turns = [tuple(found[i : i + 5]) for i in range(0, 20, 5)]
    assert turns[0] == (0, 1, 2, 3, 4)
    assert len(set(turns)) == 4


def test_no_batch_comes_again_before_enough_were_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_BATCHES", 5)
    assert sorted(Counter(indices(schedule(6))).values()) == [1, 1, 1, 1, 2]
    assert indices(schedule(4)) == [0, 1, 2, 3]


def test_states_belong_to_their_batch(batches: TrainBatches) -> None:
    taught = TeacherBatches(batches, schedule(12, 3), Teacher())
    for step in range(12):
        batch, states = taught.at(step)
        assert states.dtype == torch.float32
        torch.testing.assert_close(states, 0.1 * batch.input_ids[..., None], rtol=1e-3, atol=0)


def test_any_step_is_the_same_from_wherever_one_starts(batches: TrainBatches) -> None:
    plan = schedule(12, 2, window=2)
    whole = TeacherBatches(batches, plan, Teacher())
    expected = [whole.at(step) for step in range(12)]
    later = TeacherBatches(batches, plan, Teacher())
    for step in (3, 9, 10, 11):
        batch, states = later.at(step)
        assert torch.equal(batch.input_ids, expected[step][0].input_ids)
        assert torch.equal(states, expected[step][1])


def test_a_window_takes_the_memory_it_may(
    batches: TrainBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 3 * SIZE * LENGTH * 7 * 2)  # hidden size 7
    assert window_of(SIZE * LENGTH * 7) == 3
    kept = TeacherBatches(batches, schedule(12, 2, window=3), Teacher())
    for step in range(12):
        kept.at(step)
        assert len(kept._kept) <= 3


@pytest.mark.parametrize("seconds", [0.01, 1.0, 30.0, 300.0, 3000.0])
@pytest.mark.parametrize("window", [10, 1000])
def test_steps_within_a_time(seconds: float, window: int) -> None:
    def took_s(steps: int) -> float:
        return 0.1 * steps + 0.09 * schedule(steps, 2, window, available=600).teacher_calls

    steps = most_within(seconds, took_s)
    assert took_s(steps + 1) > seconds
    assert steps == 1 or took_s(steps) <= seconds
