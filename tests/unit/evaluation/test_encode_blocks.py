"""Many texts, a block at a time."""

import numpy as np
import pytest

from nasc.evaluation.encode_blocks import encode_blocks


def test_vectors_keep_the_order_of_texts_and_blocks_are_of_like_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nasc.evaluation.encode_blocks.BLOCK", 3)
    texts = ["a" * n for n in (5, 1, 4, 8, 2, 7, 3)]
    blocks: list[list[int]] = []
    told: list[tuple[int, int]] = []

    def encode(block: list[str]) -> np.ndarray:
        blocks.append([len(text) for text in block])
        return np.array([[len(text), 1] for text in block], np.float64)

    found = encode_blocks(encode, texts, lambda done, total, _: told.append((done, total)))
    assert found[:, 0].tolist() == [5, 1, 4, 8, 2, 7, 3]
    assert found.dtype == np.float32
    assert blocks == [[1, 2, 3], [4, 5, 7], [8]]
    assert told == [(3, 7), (6, 7), (7, 7)]


def test_what_is_no_vector_a_text_is_refused() -> None:
    with pytest.raises(ValueError, match="no texts"):
        encode_blocks(lambda block: np.ones((len(block), 2)), [])
    with pytest.raises(ValueError, match="2 texts gave 1 vectors"):
        encode_blocks(lambda block: np.ones((1, 2)), ["a", "b"])
