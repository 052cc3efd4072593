"""A mixture of lengths: no text is shorter than what it is priced as, and few tokens are added."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.errors import UsageError
from nasc.latency.lengths import ENOUGH, LengthMixture, LengthPart, mixture_of


def added(counts: Counter[int], ends: tuple[int, ...]) -> int:
    return sum(
        texts * (min(end for end in ends if end >= length) - length)
        for length, texts in counts.items()
    )


histograms = st.dictionaries(st.integers(1, 60), st.integers(1, 50), min_size=1, max_size=9)


@settings(max_examples=60, deadline=None)
@given(histograms, st.integers(1, 4))
def test_the_lengths_are_the_best_that_so_few_can_be(counts: dict[int, int], most: int) -> None:
    found = mixture_of(counts, "texts", most)
    held, count = Counter(counts), len(found.lengths)
    tokens = sum(length * texts for length, texts in counts.items())
    assert found.longest == max(counts)
    assert found.texts == sum(counts.values())
    assert found.mean_tokens == pytest.approx(tokens / found.texts)
    own = added(held, found.lengths)
    assert found.priced_tokens == pytest.approx((tokens + own) / found.texts)
    for shorter in itertools.combinations(sorted(counts), count):
        if shorter[-1] == max(counts):
            assert own <= added(held, shorter)
    if count < min(most, len(counts)):
        assert own <= ENOUGH * tokens
    if count > 1:  # fewer would not do
        best = min(
            added(held, ends)
            for ends in itertools.combinations(sorted(counts), count - 1)
            if ends[-1] == max(counts)
        )
        assert best > ENOUGH * tokens


def test_each_text_counts_as_the_longest_of_its_class() -> None:
    found = mixture_of({10: 20, 11: 40, 62: 30, 64: 10}, "texts")
    assert found.parts == (LengthPart(11, 60), LengthPart(64, 40))
    assert found.shares == (0.6, 0.4)
    assert found.describe() == "11 tokens 60%, 64 tokens 40%"
    assert found.words() == "the mean over 100 texts of texts (11 tokens 60%, 64 tokens 40%)"
    assert LengthMixture.from_dict(found.to_dict()) == found


def test_many_different_lengths_are_no_trouble() -> None:
    found = mixture_of(dict.fromkeys(range(1, 2001), 3), "texts")
    assert len(found.lengths) == 5
    assert found.lengths == (400, 800, 1200, 1600, 2000)


@pytest.mark.parametrize("counts", [{}, {5: 0}])
def test_no_text_is_no_mixture(counts: dict[int, int]) -> None:
    with pytest.raises(UsageError, match="at least one text"):
        mixture_of(counts, "texts")


@pytest.mark.parametrize(
    ("parts", "mean", "message"),
    [
        ((), 4.0, "1 to 5 different lengths, the shortest first, got none"),
        ((LengthPart(8, 1), LengthPart(4, 1)), 4.0, "the shortest first, got 8, 4"),
        ((LengthPart(8, 1), LengthPart(8, 1)), 4.0, "different lengths"),
        (tuple(LengthPart(n, 1) for n in range(1, 7)), 1.0, "1 to 5"),
        ((LengthPart(8, 1),), 8.1, "cannot be priced as being of 8"),
        ((LengthPart(8, 1),), 0.0, "cannot be priced"),
        ((LengthPart(8, 1),), float("nan"), "cannot be priced"),
    ],
)
def test_a_mixture_that_contradicts_itself_is_refused(
    parts: tuple[LengthPart, ...], mean: float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        LengthMixture(parts, mean, "texts")


@pytest.mark.parametrize("part", [(0, 1), (1, 0), (1 << 21, 1), (True, 1), (4.0, 1), (4, 10**16)])
def test_a_part_is_of_whole_numbers(part: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="must be a whole number from 1"):
        LengthPart(*part)
