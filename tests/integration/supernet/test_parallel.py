"""A training shared among processes is the training of one, up to rounding."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import parallel_worker
import pytest
import torch
from forked import forking
from stopped import Stopped, stop_after
from supernet_toy import beginning, sentences, state

from nasc.data.tokens import Tokens
from nasc.errors import UsageError
from nasc.supernet import checkpoint
from nasc.supernet.batches import TrainBatches
from nasc.supernet.parallel import Parallel
from nasc.supernet.train import Objective, TrainConfig, train, whole_space
from nasc.teacher import Teacher

CONFIG = TrainConfig(steps=8, batch_size=8, learning_rate=3e-3)
SHRINK = {"bins": 2, "keep": 3, "sample": 8, "warm_epochs": 1, "epoch_steps": 2}
TESTS = Path(__file__).parents[2]  # where `stopped` is


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the processes of torchrun have: sums over other threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def losses(record: dict[str, Any]) -> np.ndarray:
    return np.array([[h["block_0"], h["block_1"]] for h in record["history"]])


def alone(
    teacher: Teacher, tokens: Tokens, config: TrainConfig = CONFIG, **options: Any
) -> tuple[dict[str, torch.Tensor], Any]:
    supernet = beginning(teacher, tokens)
    batches = TrainBatches(tokens, config.batch_size, config.seed)
    return state(supernet), train(supernet, batches, config, **options)


Together = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def request_of(
    teacher_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, Any]]:
    """What `parallel_worker` is told."""

    def request(kind: str, **options: Any) -> dict[str, Any]:
        return {
            "kind": kind,
            "teacher": str(teacher_folder(layers=4)),
            "out": str(tmp_path_factory.mktemp("together") / "out.pt"),
            "config": dataclasses.asdict(CONFIG),
        } | options

    return request


@pytest.fixture(scope="session")
def together(request_of: Callable[..., dict[str, Any]]) -> Together:
    """Two processes with torchrun's variables; what the first one wrote."""
    context = forking()

    def run(kind: str, processes: int = 2, **options: Any) -> dict[str, Any]:
        asked = request_of(kind, **options)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        started = [
            context.Process(target=parallel_worker.take_part, args=(asked, rank, processes, port))
            for rank in range(processes)
        ]
        for process in started:
            process.start()
        try:
            for process in started:
                process.join(timeout=300)
        finally:
            for process in started:
                process.kill()
        assert [process.exitcode for process in started] == [0] * processes
        return torch.load(asked["out"])

    return run


@pytest.mark.parametrize("chain", [0.0, 1.0])
def test_a_batch_in_parts_is_the_batch(chain: float, teacher: Teacher, tokens: Tokens) -> None:
    supernet = beginning(teacher, tokens)
    batches = TrainBatches(tokens, 8, 0)
    found = {}
    for parts in (1, 2, 4):
        config = dataclasses.replace(CONFIG, accumulate=parts, chain=chain)
        objective = Objective(supernet, config, whole_space(supernet, config))
        values = objective.backward(batches.at(0), 0)
        grads = {n: p.grad for n, p in supernet.blocks.named_parameters() if p.grad is not None}
        found[parts] = values, grads
        supernet.zero_grad(set_to_none=True)
    for parts in (2, 4):
        torch.testing.assert_close(found[parts][0], found[1][0], rtol=1e-5, atol=0)
        assert found[parts][1].keys() == found[1][1].keys()
        for name, grad in found[1][1].items():
            torch.testing.assert_close(found[parts][1][name], grad, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "chain"), [("data", 0.0), ("block", 0.0), ("data", 0.5)])
def test_two_processes_train_as_one(
    kind: str,
    chain: float,
    teacher: Teacher,
    tokens: Tokens,
    together: Together,
) -> None:
    config = dataclasses.replace(CONFIG, chain=chain)
    supernet = beginning(teacher, tokens)
    record = train(supernet, TrainBatches(tokens, 8, 0), config)
    found = together(kind, config=dataclasses.asdict(config))
    np.testing.assert_allclose(losses(found["record"]), losses(record), rtol=1e-5)
    start = state(beginning(teacher, tokens))
    for name, value in state(supernet).items():
        if name.endswith("k_bias"):  # its gradient is nothing but rounding, which Adam scales up
            continue
        moved = float((value - start[name]).abs().max())
        assert float((found["weights"][name] - value).abs().max()) <= 0.02 * moved + 1e-7, name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["data", "block"])
def test_a_run_goes_on_with_another_number_of_processes(
    kind: str,
    teacher: Teacher,
    tokens: Tokens,
    tmp_path: Path,
    together: Together,
) -> None:
    whole = train(beginning(teacher, tokens), TrainBatches(tokens, 8, 0), CONFIG)
    path = tmp_path / "state.safetensors"
    with pytest.raises(Stopped):
        train(
            beginning(teacher, tokens),
            TrainBatches(tokens, 8, 0),
            CONFIG,
            state_path=path,
            save_every_s=0,
            progress=stop_after(4),
        )
    assert checkpoint.read(path).header["step"] == 4
    found = together(kind, state=str(path))
    np.testing.assert_allclose(losses(found["record"]), losses(whole), rtol=1e-5)
    last = checkpoint.read(path)
    assert last.header["step"] == 8
    names = {n.removeprefix("weight/") for n in last.tensors if n.startswith("weight/")}
    assert names == found["weights"].keys()  # of both processes, blocks shared or not
    resumed = beginning(teacher, tokens)
    train(resumed, TrainBatches(tokens, 8, 0), CONFIG, state_path=path)
    for name, value in state(resumed).items():
        assert torch.equal(value, found["weights"][name]), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["data", "block"])
def test_a_run_of_two_processes_goes_on_alone(
    kind: str,
    teacher: Teacher,
    tokens: Tokens,
    tmp_path: Path,
    together: Together,
) -> None:
    whole = train(beginning(teacher, tokens), TrainBatches(tokens, 8, 0), CONFIG)
    path = tmp_path / "state.safetensors"
    together(kind, state=str(path), stop=5)
    assert checkpoint.read(path).header["step"] == 4
    calls: list[int] = []
    resumed = train(
        beginning(teacher, tokens),
        TrainBatches(tokens, 8, 0),
        CONFIG,
        state_path=path,
        progress=lambda done, total, message: calls.append(done),
    )
    assert calls == [5, 6, 7, 8]
    np.testing.assert_allclose(losses(resumed), losses(whole), rtol=1e-4)


@pytest.mark.slow
def test_two_processes_turn_one_budget_into_steps(tmp_path: Path, together: Together) -> None:
    """The first one alone times a step and packs the text, and the others take its word."""
    source, cache = tmp_path / "text.txt", tmp_path / "cache"
    source.write_text("\n\n".join(sentences(300)), encoding="utf-8")
    found = together("data", sources=[str(source)], seconds=0.05, cache=str(cache))
    (steps,) = cache.glob("supernets/*/steps.json")
    told = json.loads(steps.read_text(encoding="utf-8"))["steps"]
    assert found["record"]["config"]["steps"] == told == len(found["record"]["history"])


@pytest.mark.slow
def test_of_torchrun_s_processes_the_first_works_and_the_second_finds_it(
    tmp_path: Path, request_of: Callable[..., dict[str, Any]]
) -> None:
    made = tmp_path / "made.txt"
    asked = request_of("data", made=str(made))
    worker = Path(parallel_worker.__file__)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(worker), json.dumps(asked)]
    paths = [str(worker.parent), str(TESTS), os.getcwd(), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert torch.load(asked["out"])["found"] == ["made by 0", "made by 0"]
    assert made.read_text(encoding="utf-8") == "made by 0"


@pytest.mark.slow
def test_two_processes_shrink_as_one(together: Together) -> None:
    one, two = (together("block", processes, shrink=SHRINK) for processes in (1, 2))
    assert not bool(one["alive"].all())
    assert torch.equal(one["alive"], two["alive"])


def test_a_step_sends_only_what_it_touched(
    teacher: Teacher, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def add(self: Parallel, tensors: list[torch.Tensor]) -> None:
        sent.append(sum(t.numel() for t in tensors))

    monkeypatch.setattr(Parallel, "add", add)
    supernet = beginning(teacher, tokens)
    config = dataclasses.replace(CONFIG, steps=1)
    before = state(supernet)
    train(supernet, TrainBatches(tokens, 8, 0), config)
    changed = sum(v.numel() for n, v in state(supernet).items() if not torch.equal(v, before[n]))
    # two variances, the losses, the gradients, their norms
    assert sent == [33, 33, 2, changed, 2]
    assert changed < sum(v.numel() for v in before.values()) / 2


def test_work_that_cannot_be_divided_is_refused() -> None:
    Parallel("block", 0, 2).check(4, 7, 1)
    Parallel("data", 0, 2).check(3, 8, 2)
    with pytest.raises(UsageError, match=r"3 blocks .* 2 processes: start 1 or 3"):
        Parallel("block", 0, 2).check(3, 8, 1)
    with pytest.raises(UsageError, match=r"9 sentences .* 2 parts \(2 processes, 1 parts each\)"):
        Parallel("data", 0, 2).check(3, 9, 1)
    with pytest.raises(UsageError, match="unknown way"):
        Parallel.from_environment("model")


def test_a_short_last_batch_leaves_some_without_work(tokens: Tokens) -> None:
    batch = tokens.batch(range(3))
    parts = [
        part for rank in range(2) for part in Parallel("data", rank, 2).parts(batch, accumulate=2)
    ]
    assert [weight for _, weight in parts] == [1.0, 1.0, 1.0, 0.0]
    rows = [part.input_ids[0, : int(part.attention_mask.sum())].tolist() for part, _ in parts]
    assert sorted(rows[:3]) == sorted(tokens.batch([i]).input_ids[0].tolist() for i in range(3))
