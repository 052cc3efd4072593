"""What is said where a latency of something emulated is asked for."""

from __future__ import annotations

from nasc.errors import DeviceEmulated


def emulated_error(what: str) -> DeviceEmulated:
    """The error.

    Args:
        what: The device or table, as the beginning of a sentence.
    """
    return DeviceEmulated(
        f"{what} is emulated: it shows that networks run there and what they compute, and nothing "
        "of their time. No latency is searched, promised or checked by it. Give a real device: "
        "--device NAME; those known: nasc devices. As a test that everything works, an emulated "
        "one may be measured: nasc profile"
    )
