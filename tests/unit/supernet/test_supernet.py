"""The supernet's paths: equal to the teacher where kept, to the extracted network always."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from supernet_toy import random_supernet, sentences, toy_space
from torch.nn import functional

from nasc.architecture.layers import params
from nasc.architecture.space import OPERATIONS, Architecture, Block, SearchSpace
from nasc.data.tokens import Tokens
from nasc.errors import ExportError, UsageError
from nasc.networks.from_teacher import teacher_network
from nasc.networks.torch_network import Mask, TorchNetwork, mean_pool
from nasc.supernet.sampling import sample_block
from nasc.supernet.supernet import Supernet, merge
from nasc.teacher import Teacher, load_teacher


def random_blocks(space: SearchSpace, rng: np.random.Generator) -> tuple[Block, ...]:
    """Two of three blocks sampled, the others kept."""
    return tuple(
        space.kept_block if rng.random() < 0.3 else sample_block(space, "balanced", rng)
        for _ in range(space.n_blocks)
    )


def supernet_output(supernet: Supernet, blocks: tuple[Block, ...], tokens: Tokens) -> torch.Tensor:
    batch = tokens.batch(range(8))
    mask = Mask.of(batch.attention_mask)
    return supernet(supernet.embed(batch.input_ids), mask, blocks)


@pytest.mark.parametrize("from_end", [False, True])
@pytest.mark.parametrize("head", ["embed", "hidden"])
def test_an_extracted_subnet_equals_the_supernet_s_path(
    teacher: Teacher, tokens: Tokens, head: str, from_end: bool
) -> None:
    supernet = random_supernet(teacher)
    for block in supernet.blocks:
        block.from_end = from_end
    space = supernet.space
    rng = np.random.default_rng(3)
    chosen = [random_blocks(space, rng) for _ in range(12)]
    wide, small = Block(32, ("ffn", "sep5")), Block(8, ("mha", "sep3"))
    chosen += [
        (space.kept_block, small),
        (small, space.kept_block),
        (wide, space.kept_block),
        (small, small),
        (wide, small),
        (space.kept_block, space.kept_block),
    ]
    batch = tokens.batch(range(8))
    mask, real = Mask.of(batch.attention_mask), batch.attention_mask.bool()
    for blocks in chosen:
        network = supernet.extract(Architecture(blocks), head)
        assert network.params == params(Architecture(blocks), space.geometry, head)
        with torch.no_grad():
            ours = TorchNetwork(network)(batch.input_ids, batch.attention_mask)
            states = supernet(supernet.embed(batch.input_ids), mask, blocks)
        if head == "embed":
            theirs = functional.normalize(mean_pool(states, mask), dim=-1)
        else:
            ours, theirs = ours[real], states[real]
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-5, msg=str(blocks))


def test_from_end_uses_the_last_slots(teacher: Teacher, tokens: Tokens) -> None:
    supernet = random_supernet(teacher)
    block = supernet.blocks[0]
    short = Block(16, ("mha", "ffn"))
    assert (block.first_slot(2), block.first_slot(4)) == (0, 0)
    first = supernet_output(supernet, (short, supernet.space.kept_block), tokens)
    block.from_end = True
    assert (block.first_slot(2), block.first_slot(4)) == (2, 0)
    last = supernet_output(supernet, (short, supernet.space.kept_block), tokens)
    assert not torch.allclose(first, last, atol=1e-2)
    with torch.no_grad():
        for name in ("mha", "ffn"):
            slot = 2 + (name == "ffn")
            source = block.operations[f"{slot - 2}/16/{name}"]
            for key, value in block.operations[f"{slot}/16/{name}"].items():
                value.copy_(source[key])
    again = supernet_output(supernet, (short, supernet.space.kept_block), tokens)
    assert torch.equal(again, first)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "xlm-roberta", "electra"])
def test_the_kept_path_is_the_teacher(family: str, teacher_folder: Callable[..., Path]) -> None:
    teacher = load_teacher(teacher_folder(family, layers=4))
    batch = teacher.encode(sentences(6))
    real = batch.attention_mask.bool()
    supernet = Supernet(toy_space(teacher), teacher)
    wanted = teacher.hidden_states(batch.input_ids, batch.attention_mask)
    found = supernet.teacher_states(batch.input_ids, Mask.of(batch.attention_mask))
    for state, layer in zip(found, (0, 2, 4), strict=True):
        torch.testing.assert_close(state[real], wanted[layer][real], rtol=1e-5, atol=1e-5)
    cut = supernet.extract(supernet.space.teacher, "hidden")
    whole = teacher_network(teacher, supernet.space.teacher, "hidden")
    for ours, theirs in zip(cut.tensors, whole.tensors, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    out = TorchNetwork(whole)(batch.input_ids, batch.attention_mask)
    torch.testing.assert_close(out[real], wanted[-1][real], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("hidden", [8, 32])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_sentence_alone_equals_itself_padded(
    teacher: Teacher, operation: str, hidden: int
) -> None:
    supernet = random_supernet(teacher)
    blocks = (Block(hidden, (operation,) * 4), Block(16, (operation, "mha")))
    network = TorchNetwork(supernet.extract(Architecture(blocks), "embed"))
    text = ["a cat.", "the small dog ran to the big house and slept in the sun on a mat."]
    tokens = teacher.tokenize(text)
    together = tokens.batch([0, 1], length=40)
    with torch.no_grad():
        padded = network(together.input_ids, together.attention_mask)
        for i in range(len(text)):
            alone = tokens.batch([i])
            single = network(alone.input_ids, alone.attention_mask)[0]
            torch.testing.assert_close(single, padded[i], rtol=1e-5, atol=1e-5)


def test_padding_ids_do_not_matter(teacher: Teacher) -> None:
    supernet = random_supernet(teacher)
    blocks = (Block(16, ("sep7", "mha")), Block(8, ("sep3", "ffn")))
    network = TorchNetwork(supernet.extract(Architecture(blocks)))
    batch = teacher.tokenize(["a cat."]).batch([0], length=20)
    other = torch.where(batch.attention_mask.bool(), batch.input_ids, 7)
    with torch.no_grad():
        vectors = [network(ids, batch.attention_mask) for ids in (batch.input_ids, other)]
    torch.testing.assert_close(*vectors, rtol=0, atol=1e-6)


def test_extracted_weights_are_copies(teacher: Teacher) -> None:
    supernet = random_supernet(teacher)
    network = supernet.extract(Architecture((Block(32, ("ffn",)), supernet.space.kept_block)))
    before = [{name: value.copy() for name, value in own.items()} for own in network.tensors]
    with torch.no_grad():
        for parameter in supernet.blocks.parameters():
            parameter.zero_()
    for old, new in zip(before, network.tensors, strict=True):
        assert all(np.array_equal(old[name], new[name]) for name in old)


def test_networks_share_the_teacher_s_words(teacher: Teacher) -> None:
    """Of a dozen that are compared each would hold 384 MB of 250,000 words."""
    supernet = random_supernet(teacher)
    kept = Architecture((supernet.space.kept_block,) * 2)
    words = [
        network.tensors[0]["word"]
        for network in (supernet.extract(kept), teacher_network(teacher, kept))
    ]
    assert all(np.shares_memory(each, teacher.embeddings.word.numpy()) for each in words)


class OnDevice(torch.Tensor):
    """As on a GPU: numpy cannot have it before it is fetched."""

    def numpy(self, *, force: bool = False) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def cpu(self) -> torch.Tensor:  # type: ignore[override]
        return self.as_subclass(torch.Tensor)


def test_networks_are_cut_out_while_the_weights_are_on_a_device(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = toy_space(teacher)
    architecture = space.parse("keep | 16: M F")
    here = random_supernet(teacher)
    wanted = here.extract(architecture), teacher_network(teacher, space.teacher)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *_, **__: self.as_subclass(OnDevice))
    there = teacher.to("cuda")
    monkeypatch.undo()
    assert isinstance(there.layers[0].q_w, OnDevice)
    here.teacher = there
    found = here.extract(architecture), teacher_network(there, space.teacher)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.sha256() == theirs.sha256()


def test_int8_is_cut_out_with_the_same_weights(teacher: Teacher) -> None:
    supernet = random_supernet(teacher, precisions=("fp32",))
    blocks = (Block(8, ("ffn",)), Block(16, ("mha",)))
    wide, small = (supernet.extract(Architecture(blocks, p)) for p in ("fp32", "int8"))
    assert small.architecture.precision == "int8"
    for ours, theirs in zip(small.tensors, wide.tensors, strict=True):
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_merging_linear_layers() -> None:
    generator = torch.Generator().manual_seed(0)

    def linear(inputs: int, outputs: int) -> dict[str, torch.Tensor]:
        return {
            "weight": torch.randn(outputs, inputs, generator=generator),
            "bias": torch.randn(outputs, generator=generator),
        }

    first, second = linear(8, 32), linear(32, 16)
    x = torch.randn(5, 8, generator=generator)
    merged = merge(first, second)
    assert merged is not None
    step = functional.linear(x, first["weight"], first["bias"])
    two = functional.linear(step, second["weight"], second["bias"])
    one = functional.linear(x, merged["weight"], merged["bias"])
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
    assert merge(None, second) is second
    assert merge(first, None) is first
    assert merge(None, None) is None


def test_what_is_not_of_the_space_is_not_cut_out(teacher: Teacher) -> None:
    supernet = random_supernet(teacher)
    with pytest.raises(UsageError, match="hidden size 24 is not in space 'toy': 8, 16, 32"):
        supernet.extract(Architecture((Block(24, ("mha",)), Block(8, ("mha",)))))


def test_a_space_of_another_teacher_is_refused(
    teacher: Teacher, teacher_folder: Callable[..., Path]
) -> None:
    other = load_teacher(teacher_folder(layers=2))
    with pytest.raises(UsageError, match=r"search space 'toy' is for a teacher with 4 layers"):
        Supernet(toy_space(teacher), other)


def test_a_network_with_tensors_of_another_shape_is_refused(teacher: Teacher) -> None:
    network = random_supernet(teacher).extract(
        Architecture((Block(8, ("ffn",)), Block(8, ("mha",))))
    )
    with pytest.raises(ExportError, match="layers but tensors for"):
        dataclasses.replace(network, tensors=network.tensors[:-1])
    with pytest.raises(ExportError, match="border 32->8: tensors"):
        dataclasses.replace(network, tensors=(network.tensors[0], {}, *network.tensors[2:]))
