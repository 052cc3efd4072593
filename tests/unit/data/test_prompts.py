"""Prompts: names, defaults, and what stands before texts."""

import pytest

from nasc.data.prompts import DOCUMENT, NO_PROMPTS, QUERY, Prompts, prompted
from nasc.errors import UsageError

E5 = Prompts((("query", "query: "), ("passage", "passage: ")))


def test_the_default_stands_before_every_text() -> None:
    assert E5.before == NO_PROMPTS.before == ""
    chosen = Prompts(E5.texts, "passage")
    assert chosen.before == "passage: "
    assert prompted(list, chosen.before)(("a", "")) == ["passage: a", "passage: "]


def test_what_asks_and_what_is_found_have_their_own() -> None:
    assert (E5.first_of(QUERY), E5.first_of(DOCUMENT)) == ("query: ", "passage: ")
    both = Prompts((("corpus", "c "), ("document", "")), "corpus")
    assert both.first_of(DOCUMENT) == ""
    assert both.first_of(QUERY) == "c "
    assert NO_PROMPTS.first_of(QUERY) == ""


def test_empty_prompts_are_none() -> None:
    assert E5
    assert not Prompts((("query", ""),), "query")
    assert not NO_PROMPTS


@pytest.mark.parametrize(
    ("texts", "default", "message"),
    [
        ((("q", "x"),), "r", "the default prompt 'r' is none of its prompts"),
        ((("q", "x"), ("q", "y")), None, "2 prompts; up to 256 of different names"),
        (tuple((str(i), "") for i in range(257)), None, "257 prompts; up to 256"),
        ((("q", "x" * 10_001),), None, "up to 10,000 characters"),
        ((("q", "\ud800"),), None, "the prompt 'q' is no text: it holds half a character"),
        ((("a\nb", "x"),), None, "the name of a prompt holds control characters"),
    ],
)
def test_what_cannot_be_prompts_is_refused(
    texts: tuple[tuple[str, str], ...], default: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Prompts(texts, default)


def test_the_prompt_of_one_kind_becomes_the_default() -> None:
    prompts = Prompts((("passage", "p: "), ("query", "q: ")), "passage")
    assert prompts.for_all(QUERY).before == "q: "
    assert prompts.for_all(QUERY).texts == prompts.texts
    assert prompts.for_all(DOCUMENT) == prompts
    assert NO_PROMPTS.for_all(QUERY) == NO_PROMPTS
