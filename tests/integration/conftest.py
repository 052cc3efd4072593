"""Set-up of the tests that measure on this machine."""

import dataclasses
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from profilers import Protocol

FEW_ROUNDS = {"min_rounds": 4, "max_rounds": 6, "rounds_per_instance": 4}
FEW_NETWORKS = 12
"""Random ones that a table is measured by at least."""


@pytest.fixture(autouse=True, scope="module")
def rough_measurements(request: pytest.FixtureRequest) -> Iterator[None]:
    """Measurements take seconds, and are rough in return: of modules beside this file.

    Those in folders are of the code's folders, and say themselves how they measure.
    """
    if request.path.parent != Path(__file__).parent:
        yield
        return
    fields = {f.name: f.default for f in dataclasses.fields(Protocol)} | FEW_ROUNDS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasc.latency.profile.MEASURE_S", 3.0)
        patch.setattr("nasc.latency.spot_check.SECONDS", 3.0)
        patch.setattr("nasc.latency.plan.LEAST_RANDOM", FEW_NETWORKS)
        patch.setattr(Protocol.__init__, "__defaults__", tuple(fields.values()))
        assert Protocol().max_rounds == FEW_ROUNDS["max_rounds"]
        yield


WORDS = "the a cat dog sat on mat ran to house and slept in sun it was big small".split()


@pytest.fixture(scope="session")
def write_inputs(teacher_folder: Callable[..., Path]) -> Callable[..., Path]:
    """Writes what `nasc compile` is given for a tiny teacher, and gives the teacher's folder.

    `write_inputs(folder, hidden_sizes=[32])`: toy.toml is a space of few networks, text.txt is
    text.
    """

    from nasc.teacher import load_teacher  # seconds to import, which tests of the clock do without

    def write(folder: Path, hidden_sizes: Sequence[int] = (32,)) -> Path:
        teacher = teacher_folder()
        g = load_teacher(teacher).geometry
        (folder / "toy.toml").write_text(
            f"n_blocks = 2\nslots = 1\nhidden_sizes = {[*hidden_sizes]}\n"
            'operations = ["mha", "ffn"]\n'
            f"[geometry]\nlayers = {g.layers}\nhidden = {g.hidden}\nhead_size = {g.head_size}\n"
            f"intermediate = {g.intermediate}\nvocab_size = {g.vocab_size}\n"
            f"max_positions = {g.max_positions}\n",
            encoding="utf-8",
        )
        rng = random.Random(0)
        text = [" ".join(rng.choices(WORDS, k=rng.randint(4, 14))) + "." for _ in range(300)]
        (folder / "text.txt").write_text("\n\n".join(text), encoding="utf-8")
        return teacher

    return write
