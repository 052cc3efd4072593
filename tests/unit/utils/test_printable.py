"""Text from outside is shown, never obeyed."""

import pytest

from nasc.utils.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, naïve, 日本語, हिन्दी, 👍🏽", "plain text, naïve, 日本語, हिन्दी, 👍🏽"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\x9b31m", r"a\x9b31m"),
        ("bell\x07 back\x08 null\x00", r"bell\x07 back\x08 null\x00"),
        ("new\nline\r\ttab", r"new\nline\r\ttab"),
        ("evil\u202egnp.exe", r"evil\u202egnp.exe"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("lone \ud800 surrogate", r"lone \ud800 surrogate"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # noqa: RUF001
        ("wide\u3000space", "wide\u3000space"),
    ],
)
def test_what_acts_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).encode()


def test_lines_may_stay_lines() -> None:
    assert printable("a\nb\x1b", lines=True) == "a\nb\\x1b"
