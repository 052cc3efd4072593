"""Distillation of one network: it learns, resumes exactly, and is done once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stopped import Stopped, stop_after

from nasc.architecture.heads import POOLINGS, pooling_of, scores_tokens
from nasc.architecture.space import Architecture, Block, SearchSpace
from nasc.data import Corpus, corpus_from_sentences
from nasc.data.tokens import Tokens
from nasc.distillation.train import (
    DistillConfig,
    distill,
    distill_cached,
    distill_loss,
    step_loss,
)
from nasc.errors import CheckpointError, TrainingDiverged, UsageError
from nasc.networks.from_teacher import head_tensors, teacher_network
from nasc.networks.network import Network
from nasc.networks.torch_network import TorchNetwork
from nasc.supernet.batches import TrainBatches
from nasc.supernet.initialize import initialize
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher, load_teacher, sentence_vectors
from nasc.teacher.encoder import DenseWeights
from nasc.utils.progress import Progress

CONFIG = DistillConfig(steps=8, batch_size=8, learning_rate=3e-3)


class Listener:
    """A reporter that counts steps, and can stop the run."""

    def __init__(self, stop: int | None = None) -> None:
        self.steps: list[int] = []
        self.stop = stop

    def say(self, text: str) -> None:
        """Nothing."""

    def stage(self, title: str) -> Progress:
        def progress(done: int, total: int, message: str) -> None:
            if message.startswith("loss"):
                self.steps.append(done)
                if done == self.stop:
                    raise Stopped

        return progress


@pytest.fixture(scope="module")
def teacher(teacher_folder: Callable[..., Path]) -> Teacher:
    return load_teacher(teacher_folder())


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    words = "the a cat dog sat on mat ran to house and slept in sun it was big small".split()
    text = [" ".join(rng.choice(words, rng.integers(4, 15))) + "." for _ in range(120)]
    return corpus_from_sentences(text, description="made up", seed=0)


@pytest.fixture(scope="module")
def tokens(teacher: Teacher, corpus: Corpus) -> Tokens:
    return teacher.tokenize(corpus.train)


@pytest.fixture(scope="module")
def start(teacher: Teacher, tokens: Tokens) -> Network:
    space = SearchSpace("toy", teacher.geometry.for_space(), 2, 2, (16, 32))
    supernet = Supernet(space, teacher)
    batch = tokens.batch(range(48))
    initialize(supernet, batch.input_ids, batch.attention_mask, 0)
    blocks = (Block(16, ("mha", "ffn")), Block(32, ("sep3", "ffn")))
    return supernet.extract(Architecture(blocks))


def run(
    start: Network, teacher: Teacher, tokens: Tokens, config: DistillConfig = CONFIG, **options: Any
) -> tuple[Network, list[float]]:
    batches = TrainBatches(tokens, config.batch_size, config.seed)
    return distill(start, teacher, batches, config, **options)


def same(first: Network, second: Network) -> bool:
    return all(
        np.array_equal(ours[name], theirs[name])
        for ours, theirs in zip(first.tensors, second.tensors, strict=True)
        for name in ours.keys() | theirs.keys()
    )


def test_the_loss_falls(start: Network, teacher: Teacher, tokens: Tokens) -> None:
    trained, losses = run(start, teacher, tokens, DistillConfig(40, 16, 5e-3))
    assert len(losses) == 40
    assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:8])
    assert not same(trained, start)
    assert trained.architecture == start.architecture


def test_what_the_teacher_said_is_not_asked_again(
    start: Network, teacher: Teacher, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another network on the same text learns as it would alone; other text is asked for."""
    known: dict[bytes, torch.Tensor] = {}
    config = dataclasses.replace(CONFIG, hidden_weight=0.0)
    alone, losses = run(start, teacher, tokens, config)
    run(start, teacher, tokens, dataclasses.replace(config, learning_rate=1e-3), known=known)
    held = len(known)
    assert held > 1
    with monkeypatch.context() as patched:
        patched.delattr(Teacher, "hidden_states")
        beside, found = run(start, teacher, tokens, config, known=known)
    assert same(alone, beside)
    assert found == losses
    run(start, teacher, tokens, dataclasses.replace(config, seed=1), known=known)
    assert len(known) > held


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "sqrt_len"])
def test_vectors_of_the_loss_are_pooled_as_the_head_says(mode: str) -> None:
    """States that agree in what is pooled, and in nothing else."""
    config = DistillConfig(1, hidden_weight=0, similarity_weight=0)
    target = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    states, mask = target.clone(), torch.ones(3, 4)
    mask[:, 3] = 0
    states[:, 3] = -9
    if mode == "cls":
        states[:, 1:] = 9
    elif mode == "max":
        states[:, :3] = target[:, :3].flip(1)
    else:
        states[:, 0], states[:, 1] = target[:, 0] + 1, target[:, 1] - 1
    losses = {how: float(distill_loss(config, states, target, mask, how)) for how in POOLINGS}
    assert losses[mode] == pytest.approx(0, abs=1e-6)
    assert losses["max" if mode == "cls" else "cls"] > 0.01


@pytest.mark.parametrize("head", ["embed-cls", "embed-max-unscaled"])
def test_a_network_learns_the_vectors_of_its_head(
    start: Network, teacher: Teacher, tokens: Tokens, head: str
) -> None:
    pooled = dataclasses.replace(teacher, pooling=pooling_of(head))
    begin, config = start.with_head(head), DistillConfig(1, 16, 5e-3, bf16=False)
    trained, losses = run(begin, pooled, tokens, config)
    assert trained.head == head
    batch = TrainBatches(tokens, 16, config.seed).at(0)
    with torch.no_grad():
        states = pooled.hidden_states(batch.input_ids, batch.attention_mask)[-1]
        wanted = [
            float(step_loss(TorchNetwork(begin.with_head(one)), config, batch, states))
            for one in (head, "embed")
        ]
    assert losses[0] == pytest.approx(wanted[0], rel=1e-4)
    assert abs(wanted[0] - wanted[1]) > 0.02 * wanted[0]


@pytest.mark.parametrize(
    "head",
    [
        "embed-dense24tanh-first8",
        "scores-cls-dense32tanh-dense3identity-unscaled",
        "tokens-dense5identity-unscaled",
        "answers-dense2identity-unscaled",
    ],
)
def test_a_network_learns_what_is_behind_the_pooling(
    start: Network, teacher: Teacher, tokens: Tokens, head: str
) -> None:
    """The layers there stay the teacher's."""
    generator = torch.Generator().manual_seed(0)
    how, size, dense = pooling_of(head), 32, []
    for one in how.dense:
        weight = torch.randn(one.outputs, size, generator=generator) / size**0.5
        dense.append(DenseWeights(weight, torch.randn(one.outputs, generator=generator)))
        size = one.outputs
    output = head.partition("-")[0]
    whole = dataclasses.replace(teacher, pooling=how, dense=tuple(dense), output=output)
    assert whole.head() == head
    behind = {name: value.numpy() for name, value in head_tensors(whole, head).items()}
    begin = start.with_head(head, {**start.tensors[-1], **behind})
    config = DistillConfig(30, 16, 3e-3, bf16=False)
    trained, losses = run(begin, whole, tokens, config)
    for name, value in behind.items():
        np.testing.assert_array_equal(trained.tensors[-1][name], value)
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    batch = tokens.batch(range(32))
    with torch.no_grad():
        states = whole.hidden_states(batch.input_ids, batch.attention_mask)[-1]
        if scores_tokens(head):
            given = TorchNetwork(begin.with_head(head, begin.tensors[-1])).behind_pooling
            wanted = given(states).transpose(1, 2) if output == "answers" else given(states)
        else:
            wanted = sentence_vectors(states, batch.attention_mask, how, whole.dense)
        counted = torch.ones_like(wanted, dtype=torch.bool)
        if scores_tokens(head):
            real = batch.attention_mask.bool()
            counted &= real[:, None] if output == "answers" else real[:, :, None]
        before, after = (
            (TorchNetwork(one)(batch.input_ids, batch.attention_mask) - wanted)[counted]
            .square()
            .mean()
            for one in (begin, trained)
        )
    assert after < 0.8 * before


def test_attention_leaves_cudnn_out(start: Network, teacher: Teacher, tokens: Tokens) -> None:
    seen = set()
    run(
        start,
        teacher,
        tokens,
        DistillConfig(2, 16),
        progress=lambda *about: seen.add(torch.backends.cuda.cudnn_sdp_enabled()),
    )
    assert seen == {False}


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_distils_and_gives_plain_arrays(
    start: Network, teacher: Teacher, tokens: Tokens
) -> None:
    trained, losses = run(start, teacher, tokens, DistillConfig(40, 16, 5e-3))
    assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:8])
    assert all(v.dtype == np.float32 for own in trained.tensors for v in own.values())
    assert teacher.device.type == "cpu"


def test_embedding_tables_stay_the_teacher_s(
    start: Network, teacher: Teacher, tokens: Tokens
) -> None:
    trained, _ = run(start, teacher, tokens)
    for name in ("word", "position"):
        assert np.array_equal(trained.tensors[0][name], start.tensors[0][name])
    moved = [own.keys() for own in trained.tensors[1:]]
    for layer, names in enumerate(moved, 1):
        for name in names - {"k_bias"}:  # softmax does not see it
            assert not np.array_equal(trained.tensors[layer][name], start.tensors[layer][name])


def test_wide_layers_learn_in_smaller_steps(
    start: Network, teacher: Teacher, tokens: Tokens
) -> None:
    config = DistillConfig(1, 8, learning_rate=1e-3, weight_decay=0.0)
    trained, _ = run(start, teacher, tokens, config)
    for layer, before, after in zip(start.layers, start.tensors, trained.tensors, strict=True):
        width = max(layer.hidden_in, layer.hidden_out)
        moved = [np.abs(after[name] - before[name]).max() for name in before]
        if moved:  # Adam's first step moves what has a gradient by the rate
            assert max(moved) == pytest.approx(1e-3 * 16 / width, rel=0.02)


def test_the_teacher_has_nothing_to_learn(teacher: Teacher, tokens: Tokens) -> None:
    space = SearchSpace("toy", teacher.geometry.for_space(), 2, 2, (16, 32))
    whole = teacher_network(teacher, space.teacher)
    _, losses = run(whole, teacher, tokens, DistillConfig(1, 8, bf16=False))
    assert losses[0] < 1e-5


def test_no_steps_leave_the_weights(start: Network, teacher: Teacher, tokens: Tokens) -> None:
    found, losses = run(start, teacher, tokens, DistillConfig(0))
    assert losses == []
    assert same(found, start)


def test_bf16_gives_nearly_the_same_losses(
    start: Network, teacher: Teacher, tokens: Tokens
) -> None:
    def run(bf16: bool) -> tuple[Network, list[float]]:
        config = dataclasses.replace(CONFIG, bf16=bf16)
        return distill(start, teacher, TrainBatches(tokens, 8, 0), config)

    (_, exact), (network, rounded) = run(False), run(True)
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=0.05)
    assert all(v.dtype == np.float32 for own in network.tensors for v in own.values())


def test_same_seed_same_weights(start: Network, teacher: Teacher, tokens: Tokens) -> None:
    first, again = run(start, teacher, tokens), run(start, teacher, tokens)
    assert same(first[0], again[0])
    assert first[1] == again[1]
    other, _ = run(start, teacher, tokens, dataclasses.replace(CONFIG, seed=1))
    assert not same(first[0], other)


@pytest.mark.parametrize("save_every_s", [0, 1e9])
@pytest.mark.parametrize("stopped_after", [1, 4, 8])
def test_a_run_that_broke_off_goes_on_exactly_and_loses_no_step(
    start: Network,
    teacher: Teacher,
    tokens: Tokens,
    tmp_path: Path,
    stopped_after: int,
    save_every_s: float,
) -> None:
    whole, losses = run(start, teacher, tokens)
    path = tmp_path / "state.safetensors"
    options: dict[str, Any] = {"state_path": path, "save_every_s": save_every_s}
    stop = stop_after(stopped_after, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run(start, teacher, tokens, progress=stop, **options)
    calls: list[int] = []
    resumed, again = run(
        start, teacher, tokens, progress=lambda done, total, message: calls.append(done), **options
    )
    assert calls == list(range(stopped_after + 1, 9))
    assert same(whole, resumed)
    assert again == losses
    assert path.exists()  # the caller's, until the result is on disk


def test_a_run_goes_on_exactly_among_batches_seen_before(
    start: Network,
    teacher: Teacher,
    tokens: Tokens,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nasc.distillation.teacher_cache.LEAST_BATCHES", 2)
    whole, losses = run(start, teacher, tokens)
    options: dict[str, Any] = {"state_path": tmp_path / "state.safetensors", "save_every_s": 0}
    with pytest.raises(KeyboardInterrupt):
        run(start, teacher, tokens, progress=stop_after(5, KeyboardInterrupt), **options)
    resumed, again = run(start, teacher, tokens, **options)
    assert same(whole, resumed)
    assert again == losses
    other, _ = run(start, teacher, tokens, dataclasses.replace(CONFIG, passes=1))
    assert not same(whole, other)


def test_a_run_does_not_go_on_with_other_settings(
    start: Network, teacher: Teacher, tokens: Tokens, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"state_path": tmp_path / "state.safetensors", "save_every_s": 0}
    with pytest.raises(Stopped):
        run(start, teacher, tokens, progress=stop_after(3), **options)
    other = dataclasses.replace(CONFIG, learning_rate=1e-4)
    with pytest.raises(CheckpointError, match=r"state of another run \(config differs"):
        run(start, teacher, tokens, other, **options)
    space = SearchSpace("toy", teacher.geometry.for_space(), 2, 2, (16, 32))
    with pytest.raises(CheckpointError, match=r"state of another run \(architecture differs"):
        run(teacher_network(teacher, space.teacher), teacher, tokens, **options)


def test_a_loss_that_is_no_number_ends_the_run(
    start: Network, teacher: Teacher, tokens: Tokens
) -> None:
    tensors = [{name: value.copy() for name, value in own.items()} for own in start.tensors]
    tensors[2]["ln_bias"][:] = np.nan
    broken = dataclasses.replace(start, tensors=tuple(tensors))
    with pytest.raises(TrainingDiverged, match=r"not finite at step 0\. .*--distill-steps 0"):
        run(broken, teacher, tokens)


def test_a_gradient_that_is_no_number_ends_the_run_before_the_weights_change(
    start: Network,
    teacher: Teacher,
    tokens: Tokens,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, losses = run(start, teacher, tokens)
    options: dict[str, Any] = {"state_path": tmp_path / "state.safetensors", "save_every_s": 0}
    clip, calls = torch.nn.utils.clip_grad_norm_, []

    def overflow(parameters: list[torch.nn.Parameter], most: float) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 4:
            parameters[-1].grad.view(-1)[0] = float("inf")
        return clip(parameters, most)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", overflow)
        with pytest.raises(TrainingDiverged, match="gradient is not finite at step 3"):
            run(start, teacher, tokens, **options)
    resumed, again = run(start, teacher, tokens, **options)
    assert same(whole, resumed)
    assert again == losses


@pytest.mark.parametrize(("steps", "size", "passes"), [(-1, 32, 1), (3, 0, 1), (3, 32, 0)])
def test_settings_that_make_no_sense(steps: int, size: int, passes: int) -> None:
    with pytest.raises(UsageError, match=f"got {steps}, {size} and {passes}"):
        DistillConfig(steps, size, passes=passes)


def test_the_loss_ignores_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    states, target = (torch.randn(3, 5, 8, generator=generator) for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    real = mask[:, :, None].bool()
    wanted = distill_loss(CONFIG, states, target, mask)
    other = torch.where(real, states, 50.0), torch.where(real, target, -70.0)
    torch.testing.assert_close(distill_loss(CONFIG, *other, mask), wanted)
    assert float(distill_loss(CONFIG, target, target, mask)) == pytest.approx(0, abs=1e-5)


# The cache


def cached(
    start: Network,
    teacher: Teacher,
    corpus: Corpus,
    folder: Path,
    listener: Listener,
    config: DistillConfig = CONFIG,
    seconds: float | None = None,
) -> tuple[Network, int]:
    return distill_cached(
        start, teacher, corpus, config, seconds=seconds, cache_dir=folder, reporter=listener
    )


def test_what_was_distilled_is_not_distilled_again(
    start: Network, teacher: Teacher, corpus: Corpus, tmp_path: Path
) -> None:
    first, again, other = Listener(), Listener(), Listener()
    trained, steps = cached(start, teacher, corpus, tmp_path, first)
    assert (steps, first.steps) == (8, list(range(1, 9)))
    int8 = dataclasses.replace(start, architecture=start.architecture.with_precision("int8"))
    found, steps = cached(int8, teacher, corpus, tmp_path, again)
    assert (steps, again.steps) == (8, [])
    assert same(found, trained)
    assert found.architecture.precision == "int8"
    cached(start, teacher, corpus, tmp_path, other, dataclasses.replace(CONFIG, steps=3))
    assert other.steps == [1, 2, 3]


def test_what_stays_the_teacher_s_is_neither_stored_nor_copied(
    start: Network, teacher: Teacher, corpus: Corpus, tmp_path: Path
) -> None:
    """A table of 250,000 words takes 384 MB; a halving holds a dozen networks."""
    found, _ = cached(start, teacher, corpus, tmp_path, Listener())
    assert found.tensors[0]["word"] is start.tensors[0]["word"]
    assert found.tensors[1].keys() == start.tensors[1].keys()
    (path,) = tmp_path.glob("distilled/*/network.safetensors")
    assert path.stat().st_size < 4 * start.params - start.tensors[0]["word"].nbytes


def test_a_result_that_cannot_be_written_is_not_trained_for_again(
    start: Network,
    teacher: Teacher,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import nasc.distillation.train as module

    def full(network: Network) -> None:
        raise CheckpointError("No space left on device")

    first, again = Listener(stop=6), Listener()
    with pytest.raises(Stopped):
        cached(start, teacher, corpus, tmp_path, first)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_flat", full)
        with pytest.raises(CheckpointError, match="No space left"):
            cached(start, teacher, corpus, tmp_path, Listener())
    assert list(tmp_path.glob("distilled/*/state.safetensors"))
    _, steps = cached(start, teacher, corpus, tmp_path, again)
    assert (steps, again.steps) == (8, [7, 8])
    assert not list(tmp_path.glob("distilled/*/state.safetensors"))


def test_another_tokenizer_is_another_teacher(
    start: Network, teacher: Teacher, corpus: Corpus, tmp_path: Path
) -> None:
    again = Listener()
    cached(start, teacher, corpus, tmp_path, Listener())
    shorter = dataclasses.replace(teacher, max_length=teacher.max_length - 1)
    cached(start, shorter, corpus, tmp_path, again)
    assert again.steps == list(range(1, 9))


def test_no_time_gives_the_network_as_it_was(
    start: Network, teacher: Teacher, corpus: Corpus, tmp_path: Path
) -> None:
    found, steps = cached(start, teacher, corpus, tmp_path, Listener(), seconds=0.0)
    assert steps == 0
    assert same(found, start)


def test_a_budget_is_recorded_and_kept_after_a_kill(
    start: Network,
    teacher: Teacher,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second run has another machine's speed, and still makes the same number of steps."""
    import nasc.distillation.train as module

    monkeypatch.setattr(module, "steps_for", lambda *about: 5)
    with pytest.raises(Stopped):
        cached(start, teacher, corpus, tmp_path, Listener(stop=3), seconds=60.0)
    monkeypatch.setattr(module, "steps_for", lambda *about: pytest.fail("decided twice"))
    listener = Listener()
    _, steps = cached(start, teacher, corpus, tmp_path, listener, seconds=60.0)
    assert (steps, listener.steps[-1]) == (5, 5)


def test_a_damaged_network_in_the_cache_is_a_message(
    start: Network, teacher: Teacher, corpus: Corpus, tmp_path: Path
) -> None:
    cached(start, teacher, corpus, tmp_path, Listener(), dataclasses.replace(CONFIG, steps=1))
    (path,) = tmp_path.glob("distilled/*/network.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"network\.safetensors is damaged"):
        cached(start, teacher, corpus, tmp_path, Listener(), dataclasses.replace(CONFIG, steps=1))


def test_a_network_for_queries_learns_similarities_with_the_teacher_s_vectors() -> None:
    """Vectors that are turned all the same way are as similar to each other as they were."""
    rng = torch.Generator().manual_seed(0)
    target = torch.randn(6, 1, 8, generator=rng)
    mask = torch.ones(6, 1, dtype=torch.long)
    turned = target @ torch.linalg.qr(torch.randn(8, 8, generator=rng))[0]
    weights = {"hidden_weight": 0.0, "pooled_weight": 0.0}
    losses = [
        float(distill_loss(DistillConfig(1, query_only=asks, **weights), states, target, mask))
        for asks, states in ((False, turned), (True, turned), (True, target))
    ]
    assert losses[0] == pytest.approx(0, abs=1e-6)
    assert losses[1] > 0.5
    assert losses[2] == pytest.approx(0, abs=1e-6)


def test_trainings_for_all_texts_are_kept_under_the_key_they_had() -> None:
    assert "query_only" not in DistillConfig(1).to_dict()
    assert DistillConfig(1, query_only=True).to_dict()["query_only"] is True
