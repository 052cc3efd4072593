"""Batches that are seen several times, and the teacher's states that are worked out once."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from nasc import lessons as module
from nasc.distill import steps_within
from nasc.lessons import Lessons, distinct_batches
from nasc.supernet.batches import TrainBatches
from nasc.tokens import Batch, Tokens

SENTENCES, LENGTH, SIZE = 24, 5, 4


@pytest.fixture
def batches() -> TrainBatches:
    flat = torch.arange(SENTENCES * LENGTH, dtype=torch.int32)
    offsets = torch.arange(0, SENTENCES * LENGTH + 1, LENGTH)
    return TrainBatches(Tokens(flat, offsets, pad_id=0), SIZE, seed=3)


class Teacher:
    """Tells the ids it was asked about, times a number that half precision rounds."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, batch: Batch) -> torch.Tensor:
        self.asked.append(int(batch.input_ids[0, 0]))
        return 0.1 * batch.input_ids[..., None].float()


def test_every_batch_is_seen_as_often_and_told_once(batches: TrainBatches) -> None:
    teacher = Teacher()
    lessons = Lessons(batches, 4, teacher)
    seen = [
        [tuple(lessons.at(4 * turn + i)[0].input_ids[:, 0].tolist()) for i in range(4)]
        for turn in range(3)
    ]
    assert Counter(ids for turn in seen for ids in turn) == dict.fromkeys(seen[0], 3)
    assert len(teacher.asked) == 4
    assert seen[0] == [tuple(batches.at(i).input_ids[:, 0].tolist()) for i in range(4)]
    assert seen[1] != seen[0] or seen[2] != seen[0]


def test_states_belong_to_their_batch(batches: TrainBatches) -> None:
    lessons = Lessons(batches, 4, Teacher())
    for step in range(12):
        batch, states = lessons.at(step)
        assert states.dtype == torch.float32
        torch.testing.assert_close(states, 0.1 * batch.input_ids[..., None], rtol=1e-3, atol=0)


def test_any_step_is_the_same_from_wherever_one_starts(batches: TrainBatches) -> None:
    whole = Lessons(batches, 4, Teacher())
    expected = [whole.at(step) for step in range(12)]
    later = Lessons(batches, 4, Teacher())
    for step in (9, 10, 11, 2):
        batch, states = later.at(step)
        assert torch.equal(batch.input_ids, expected[step][0].input_ids)
        assert torch.equal(states, expected[step][1])


def test_what_does_not_fit_is_worked_out_again(
    batches: TrainBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = Teacher()
    monkeypatch.setattr(module, "MOST_BYTES", 2 * SIZE * LENGTH * 2)  # two batches
    lessons = Lessons(batches, 4, teacher)
    found = [lessons.at(step)[1] for step in range(8)]
    assert len(teacher.asked) == 6
    whole = Lessons(batches, 4, Teacher())
    assert all(torch.equal(whole.at(step)[1], found[step]) for step in range(8))


def test_a_short_text_is_seen_more_often(batches: TrainBatches) -> None:
    teacher = Teacher()
    lessons = Lessons(batches, 100, teacher)
    for step in range(60):
        lessons.at(step)
    assert len(teacher.asked) == SENTENCES // SIZE


@pytest.mark.parametrize(
    ("steps", "passes", "count"), [(0, 4, 0), (100, 4, 100), (400, 4, 128), (4001, 4, 1001)]
)
def test_how_many_batches_are_seen(steps: int, passes: int, count: int) -> None:
    assert distinct_batches(steps, passes) == count


@pytest.mark.parametrize("seconds", [0.01, 1.0, 30.0, 300.0, 3000.0])
@pytest.mark.parametrize("passes", [1, 4])
def test_steps_within_a_time(seconds: float, passes: int) -> None:
    def took_s(steps: int) -> float:
        return 0.1 * steps + 0.09 * distinct_batches(steps, passes)

    steps = steps_within(seconds, 0.1, 0.09, passes)
    assert took_s(steps + 1) > seconds
    assert steps == 1 or took_s(steps) <= seconds
