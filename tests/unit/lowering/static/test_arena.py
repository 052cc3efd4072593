"""Places of buffers in one block of memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nasc.lowering.static.arena import ALIGNMENT, Lifetime, aligned, place

LIFETIMES = st.builds(
    lambda size, first, steps: Lifetime(size, first, first + steps),
    st.integers(1, 5000),
    st.integers(-1, 30),
    st.integers(0, 10),
)


@given(st.lists(LIFETIMES, max_size=30))
def test_what_is_needed_at_one_time_never_overlaps(buffers: list[Lifetime]) -> None:
    places, total = place(buffers)
    spans = [(p, p + b.size_bytes) for p, b in zip(places, buffers, strict=True)]
    assert all(first % ALIGNMENT == 0 and end <= total for first, end in spans)
    for i, one in enumerate(buffers):
        for j in range(i):
            if one.meets(buffers[j]):
                assert spans[i][1] <= spans[j][0] or spans[j][1] <= spans[i][0]
    steps = range(-1, 41)
    needed = [sum(aligned(b.size_bytes) for b in buffers if b.first <= s <= b.last) for s in steps]
    assert max(needed) <= total <= sum(aligned(b.size_bytes) for b in buffers)
    assert place(buffers) == (places, total)


def test_a_chain_takes_two_buffers_and_a_gap_is_filled() -> None:
    chain = [Lifetime(1000, step, step + 1) for step in range(10)]
    assert place(chain)[1] == 2 * aligned(1000)
    held = [Lifetime(640, 0, 9), Lifetime(128, 0, 3), Lifetime(64, 4, 5), Lifetime(64, 4, 9)]
    assert place(held) == ([0, 640, 640, 704], 768)


def test_lives_meet_at_their_ends() -> None:
    assert Lifetime(1, 0, 3).meets(Lifetime(1, 3, 5))
    assert not Lifetime(1, 0, 3).meets(Lifetime(1, 4, 5))
    assert place([]) == ([], 0)
