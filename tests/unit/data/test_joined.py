"""Texts joined of sentences."""

from nasc.data.joined import MOST_JOINED, joined


def test_every_sentence_is_in_one_text() -> None:
    sentences = [f"s{n}" for n in range(200)]
    texts = list(joined(sentences, 0.3, 0))
    assert " ".join(texts).split() == sentences
    assert {len(text.split()) for text in texts} == set(range(1, MOST_JOINED + 1))
    assert list(joined(sentences, 0.0, 0)) == sentences
