"""Records of a manifest: their texts can be shown, their counts go together."""

from __future__ import annotations

import pytest

from nasc.errors import PackageError
from nasc.package.records import MAX_WORDS, TextRecord, TrainingRecord, VocabularyRecord


def test_texts_of_a_record_can_be_shown() -> None:
    told = TextRecord("\x1b[31m" + MAX_WORDS * "x", "ab").description
    assert told.startswith("\\x1b[31mxxx")
    assert len(told) == MAX_WORDS
    assert TrainingRecord(supernet_text="a\nb").supernet_text == "a\\nb"
    assert TrainingRecord().supernet_text is None


@pytest.mark.parametrize("counts", [(0, 9, 5, 1), (9, 9, 5, 1), (10, 9, 5, 1), (4, 9, 5, 6)])
def test_counts_of_a_vocabulary_that_contradict_each_other_are_refused(
    counts: tuple[int, int, int, int],
) -> None:
    with pytest.raises(PackageError, match="counts of the vocabulary contradict each other"):
        VocabularyRecord("a text", "ab", *counts)


def test_a_cut_vocabulary_in_words() -> None:
    found = str(VocabularyRecord("a text", "ab", 4, 9, 50, 1))
    assert found.startswith("4 of 9 tokens, cut to a text; 2.00% of the tokens")
    assert "0.00%" in str(VocabularyRecord("a text", "ab", 4, 9, 0, 0))
