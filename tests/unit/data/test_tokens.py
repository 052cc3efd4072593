import pytest
import torch

from nasc.data.tokens import Tokens


@pytest.fixture
def tokens() -> Tokens:
    """500 sentences; sentence i is made of token i + 1, of 3 to 40 of them."""
    lengths = torch.randint(3, 41, (500,), generator=torch.Generator().manual_seed(0))
    flat = torch.arange(1, 501, dtype=torch.int32).repeat_interleave(lengths)
    return Tokens(flat, torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]), pad_id=0)


def test_a_batch_holds_the_sentences_padded_right(tokens: Tokens) -> None:
    indices = torch.tensor([7, 499, 0])
    batch = tokens.batch(indices)
    assert batch.input_ids.shape == (3, int(tokens.lengths[indices].max()))
    for row, mask, i in zip(batch.input_ids, batch.attention_mask, indices, strict=True):
        n = int(tokens.lengths[i])
        assert row.tolist() == [int(i) + 1] * n + [0] * (len(row) - n)
        assert mask.tolist() == [1] * n + [0] * (len(row) - n)
    assert tokens.batch([7], length=50).input_ids.shape == (1, 50)
    with pytest.raises(ValueError, match="tokens, more than 2"):
        tokens.batch([7], length=2)


@pytest.mark.parametrize("seed", [None, 1])
def test_every_sentence_is_in_exactly_one_batch(tokens: Tokens, seed: int | None) -> None:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    batches = tokens.buckets(16, generator=generator)
    assert sorted(torch.cat(batches).tolist()) == list(range(500))
    assert max(map(len, batches)) == 16


def test_little_of_a_batch_is_padding(tokens: Tokens) -> None:
    def share(batches: list[torch.Tensor]) -> float:
        padded = sum(len(b) * int(tokens.lengths[b].max()) for b in batches)
        return 1 - len(tokens.flat) / padded

    generator = torch.Generator().manual_seed(0)
    assert share(list(torch.split(torch.randperm(500, generator=generator), 16))) > 0.4
    assert share(tokens.buckets(16, generator=generator)) < 0.08
    assert share(tokens.buckets(16)) < 0.08


def test_the_order_depends_on_the_generator_alone(tokens: Tokens) -> None:
    def order(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return torch.cat(tokens.buckets(16, generator=generator)).tolist()

    assert order(3) == order(3) != order(4)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        tokens.buckets(0)
