"""A vocabulary cut to a text: what is kept, how texts are read by it, and bad files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nasc.context.read_vocabulary import CutVocabulary, read_vocabulary
from nasc.errors import CorpusError, ExportError, UsageError
from nasc.networks.from_teacher import teacher_network
from nasc.package.tokenizer_golden import golden_texts
from nasc.supernet.space_for import space_for
from nasc.teacher import Teacher, load_teacher
from nasc.teacher.vocabulary import Words, changed_tokens

CHOSEN = "the cat sat"
HELD_OUT = "the dog ran"


@pytest.fixture(scope="module")
def teacher(teacher_folder: Callable[..., Path]) -> Teacher:
    return load_teacher(teacher_folder())


@pytest.fixture(scope="module")
def cut(teacher: Teacher, tmp_path_factory: pytest.TempPathFactory) -> CutVocabulary:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_text("\n".join([*[CHOSEN] * 9, HELD_OUT] * 3) + "\n", encoding="utf-8")
    said: list[str] = []
    found = read_vocabulary(path, teacher, said.append)
    assert said[-1].startswith(f"vocabulary: {found.tokens} of {found.of_tokens} tokens kept by ")
    return found


def test_kept_are_the_words_of_the_text_and_what_any_text_needs(
    teacher: Teacher, cut: CutVocabulary
) -> None:
    before, after = teacher.tokenizer.get_vocab(), cut.cut.tokenizer.get_vocab()
    single = {token for token in before if len(token.removeprefix("##")) == 1}
    special = set(teacher.tokenizer.all_special_tokens)
    assert set(after) == single | special | set(CHOSEN.split())
    assert sorted(after.values()) == list(range(cut.tokens))
    assert [before[token] for token in sorted(after, key=after.__getitem__)] == cut.cut.ids.tolist()
    # Of nine tokens of three texts two each are in words that fell out.
    assert (cut.heldout_tokens, cut.changed_tokens) == (9, 6)


def test_texts_are_read_as_before_where_their_words_are_kept(
    teacher: Teacher, cut: CutVocabulary
) -> None:
    whole, left = teacher.tokenizer, cut.cut.tokenizer
    for text in ("", CHOSEN, f"{CHOSEN}, sat?", "\u6771 sat \U0001f600 [SEP] the"):
        ids = left(text)["input_ids"]
        assert cut.cut.ids[ids].tolist() == whole(text)["input_ids"]
    assert left.tokenize("dog") == ["d", "##o", "##g"]
    assert left.pad_token_id == 0
    both = left(CHOSEN, HELD_OUT)["input_ids"]
    assert [left.convert_ids_to_tokens(both)[i] for i in (0, 4, -1)] == ["[CLS]", "[SEP]", "[SEP]"]


def test_no_text_loses_a_word_that_could_be_read(teacher: Teacher, cut: CutVocabulary) -> None:
    whole, left = teacher.tokenizer, cut.cut.tokenizer
    for one in golden_texts(tuple(whole.get_vocab()), count=300):
        unknown = [tok.tokenize(one.text).count("[UNK]") for tok in (whole, left)]
        assert unknown[0] == unknown[1], one.text


def test_a_network_gives_the_same_vectors_for_texts_that_are_read_alike(
    teacher: Teacher, cut: CutVocabulary
) -> None:
    network = teacher_network(teacher, space_for(teacher, None).teacher)
    left = network.with_words(cut.cut.ids)
    assert left.geometry.vocab_size == cut.tokens
    assert network.params - left.params == (
        (network.geometry.vocab_size - cut.tokens) * network.geometry.hidden
    )
    ids = cut.cut.tokenizer(CHOSEN)["input_ids"]
    rows = network.tensors[0]["word"][teacher.tokenizer(CHOSEN)["input_ids"]]
    np.testing.assert_array_equal(left.tensors[0]["word"][ids], rows)
    with pytest.raises(ExportError, match="has not all those"):
        left.with_words(cut.cut.ids + 1)


def test_changed_are_all_tokens_of_a_word_that_lost_one() -> None:
    words = Words({(1, 2): 3, (4,): 5, (2,): 1})
    assert changed_tokens(words, {2, 4}) == 6


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.txt", b"", "holds 0 texts.*10 at least"),
        ("blank.txt", b"\n \n" * 20, "holds 0 texts.*10 at least"),
        ("short.txt", b"the cat\n" * 9, "holds 9 texts"),
        ("binary.txt", bytes(range(256)) * 20, "vocabulary file '.*binary.txt'"),
        ("not.jsonl", b"{" * 100, "vocabulary file '.*not.jsonl'"),
    ],
)
def test_a_file_without_enough_text_is_one_clear_message(
    teacher: Teacher, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=says):
        read_vocabulary(tmp_path / name, teacher, print)


def test_a_text_that_uses_every_token_is_refused(teacher: Teacher, tmp_path: Path) -> None:
    every = " ".join(t for t in teacher.tokenizer.get_vocab() if not t.startswith(("##", "[")))
    path = tmp_path / "every.jsonl.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": every}) + "\n" for _ in range(20))
    with pytest.raises(CorpusError, match=r"uses all [0-9]+ tokens.*Leave --vocab-from out"):
        read_vocabulary(path, teacher, print)


def test_a_missing_file_and_another_kind_of_vocabulary_are_refused(
    teacher: Teacher, teacher_folder: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match=r"cannot be read: No such file.*--vocab-from texts.txt"):
        read_vocabulary(tmp_path / "missing.txt", teacher, print)
    for family, kind in (("roberta", "BPE"), ("xlm-roberta", "Unigram")):
        with pytest.raises(UsageError, match=f"vocabularies of WordPiece.*is of {kind}"):
            read_vocabulary(tmp_path / "any.txt", load_teacher(teacher_folder(family)), print)
