"""Signals that wait."""

import signal

import pytest

from nasc.utils.interrupts import ENDING, interrupts_held


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_takes_effect_at_the_end(number: int) -> None:
    done: list[str] = []

    def handler(*_: object) -> None:
        done.append("signal")

    before = signal.signal(number, handler)
    try:
        with interrupts_held(ENDING):
            signal.raise_signal(number)
            done.append("work")
        assert done == ["work", "signal"]
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


def test_ctrl_c_alone_is_held_where_nothing_more_is_named() -> None:
    done: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: done.append(number))
    try:
        with interrupts_held():
            signal.raise_signal(signal.SIGTERM)
            assert done == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_interrupt_within_an_error_is_not_lost() -> None:
    def fail() -> None:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            raise ValueError("work")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            fail()
    finally:
        signal.signal(signal.SIGINT, before)
