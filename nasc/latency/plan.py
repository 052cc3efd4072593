"""Which networks to measure, so that every cost of a table is known well and cheaply.

Two kinds of networks:

* random ones, drawn as the search space is (`random_network`). They fix the costs where
  networks are, and each one, held out in turn, says how far predictions are off.
* designed ones, the stacks and pairs of `candidates`, chosen one by one for the largest drop of
  the mean variance of a prediction per millisecond of measuring (a greedy V-optimal design;
  Atkinson, Donev and Tobias, Optimum Experimental Designs, 2007, ch. 10 and 12), until
  every unknown is determined and their number is reached.

The teacher is always measured: it is the largest network and what everything is compared to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nasc.architecture.space import Architecture, Block, SearchSpace
from nasc.errors import UsageError
from nasc.latency.basis import Basis, Matrix, Vector, check_identified

ROLES = ("teacher", "designed", "random")

PRIOR_ERROR = 0.5
"""Relative error of the nominal costs that the greedy choice starts from. Not used in a fit."""

NOISE_ERROR = 0.01
"""Relative error of one measured network, for the choice only (findings: 0.5 to 1%)."""

ENTRY_WEIGHT = 0.1
"""What knowing each cost by itself counts against predicting random networks of the space."""

MAX_LEVERAGE = 0.8
"""A random network that determines a cost nearly alone cannot be held out: designed networks
are added until none has more than this leverage."""

STACK_COPIES = (1, 3)
MIN_NETWORKS = 16
SPECIAL_SHARE = 0.2
"""Of the networks of a small plan: the teacher, the one without any operation, designed ones. All
others are random, for the errors that calibrate the interval (docs/transfer.md)."""

LEAST_RANDOM = 32
"""Random networks of a plan at least: each gives an error by which the interval is calibrated."""

N_TARGETS = 256
N_CANDIDATES = 128


@dataclass(frozen=True, slots=True)
class PlannedNetwork:
    """One network to measure.

    Attributes:
        architecture: What to build.
        role: Out of `ROLES`; ``random`` ones are held out in turn.
    """

    architecture: Architecture
    role: str

    @property
    def name(self) -> str:
        """Unique within a plan: the architecture's text."""
        return str(self.architecture)


@dataclass(frozen=True, slots=True)
class Plan:
    """The networks of one table.

    Attributes:
        basis: The unknowns they are to determine.
        precision: Of all networks.
        seed: That chose them.
        networks: Distinct, the teacher first.
    """

    basis: Basis
    precision: str
    seed: int
    networks: tuple[PlannedNetwork, ...]

    @property
    def architectures(self) -> tuple[Architecture, ...]:
        """Of all networks, in order."""
        return tuple(network.architecture for network in self.networks)

    def matrix(self) -> Matrix:
        """Rows of all networks, (networks, unknowns)."""
        return self.basis.matrix(self.architectures)


def random_block(space: SearchSpace, rng: np.random.Generator) -> Block:
    """A block of the space: uniform over hidden sizes and `kept`, then over lengths, operations.

    Uniform over lengths and not over blocks: nearly all blocks of a space are full ones. A
    skipped block has no cost to learn and is never drawn.
    """
    choice = int(rng.integers(len(space.hidden_sizes) + int(space.keep)))
    if choice == len(space.hidden_sizes):
        return space.kept_block
    length = int(rng.integers(1, space.slots + 1))
    picks = rng.integers(len(space.operations), size=length)
    return Block(space.hidden_sizes[choice], tuple(space.operations[i] for i in picks))


def random_architecture(
    space: SearchSpace, rng: np.random.Generator, precision: str = "fp32"
) -> Architecture:
    """A network of the space with independent random blocks."""
    blocks = tuple(random_block(space, rng) for _ in range(space.n_blocks))
    return Architecture(blocks, precision)


def random_architectures(
    space: SearchSpace, rng: np.random.Generator, count: int, precision: str = "fp32"
) -> list[Architecture]:
    """Distinct random networks.

    Args:
        space: That they are of.
        rng: Decides which.
        count: How many.
        precision: Of all of them.

    Raises:
        UsageError: If the space has too few.
    """
    found: dict[Architecture, None] = {}
    for _ in range(50 * count + 100):
        if len(found) == count:
            return list(found)
        found[random_architecture(space, rng, precision)] = None
    if len(found) == count:
        return list(found)
    raise UsageError(
        f"search space {space.name!r} has too few networks to draw {count} different ones"
    )


def candidates(space: SearchSpace, rng: np.random.Generator, precision: str) -> list[Architecture]:
    """Networks that isolate costs: stacks, borders and cheap random mixtures."""
    teacher = space.geometry.hidden
    found: dict[Architecture, None] = {}

    def add(*blocks: Block) -> None:
        found[Architecture(blocks, precision)] = None

    for hidden in space.hidden_sizes:
        for operation in space.operations:
            for copies in STACK_COPIES:
                add(Block(hidden, (operation,) * copies))
    for operations in (("mha",), ("ffn",), ("mha", "ffn"), ("mha", "ffn") * 2):
        add(Block(teacher, operations))
    if space.n_blocks > 1:
        sizes = sorted({*space.hidden_sizes, *((teacher,) if space.keep or space.skip else ())})
        for hidden_in in sizes:
            for hidden_out in sizes:
                add(*_cheap(space, rng, hidden_in, hidden_out))
                if hidden_in != hidden_out:
                    add(*_cheap(space, rng, hidden_in, hidden_out, hidden_in, hidden_out))
    for _ in range(N_CANDIDATES):
        network = random_architecture(space, rng, precision)
        found[network] = None
        kept = [int(i) for i in rng.permutation(space.n_blocks)[: max(1, space.n_blocks - 1)]]
        add(*(network.blocks[i] for i in sorted(kept)))
    return list(found)


def _cheap(space: SearchSpace, rng: np.random.Generator, *sizes: int) -> tuple[Block, ...]:
    """One block of one operation at each size."""

    def block(hidden: int) -> Block:
        known = space.operations if hidden in space.hidden_sizes else ("mha", "ffn")
        return Block(hidden, (known[int(rng.integers(len(known)))],))

    return tuple(block(hidden) for hidden in sizes)


def plan(
    space: SearchSpace,
    seed: int = 0,
    *,
    precision: str = "fp32",
    seq_len: int = 128,
    batch: int = 1,
    head: str = "embed",
    n_random: int | None = None,
    n_designed: int | None = None,
) -> Plan:
    """Choose the networks to measure for one table.

    Args:
        space: Whose costs are wanted.
        seed: Of every random choice; the same seed gives the same plan.
        precision: Of the networks. The choice does not depend on it.
        seq_len: Tokens.
        batch: Sentences in a run.
        head: ``embed`` or ``hidden``.
        n_random: Random networks; None: as many as there are unknowns, at least `LEAST_RANDOM`.
        n_designed: Designed networks at least; None: as many as there are unknowns.

    Returns:
        A plan that determines every unknown. The embedding and head alone are part of it:
        without them, the overhead of a run hides in the costs of borders.

    Raises:
        UsageError: If the counts are too small to determine every unknown, or the space
            has hardly any networks.
    """
    basis = Basis(space, seq_len, batch, head)
    rng = np.random.default_rng(seed)
    unknowns = len(basis.unknowns)
    wanted = {
        "random": max(LEAST_RANDOM, unknowns) if n_random is None else n_random,
        "designed": unknowns if n_designed is None else n_designed,
    }
    teacher = space.teacher.with_precision(precision)
    bare = Architecture((space.skipped_block,), precision)
    wanted["random"] = min(wanted["random"], _count_networks(space) // 2)
    randoms = random_architectures(space, rng, wanted["random"], precision)
    taken = {teacher, bare, *randoms}
    pool = [c for c in candidates(space, rng, precision) if c not in taken]
    targets = [random_architecture(space, rng, precision) for _ in range(N_TARGETS)]
    randoms = [network for network in randoms if network != teacher]
    chosen = _greedy(basis, randoms, pool, targets, wanted["designed"])
    networks = (
        PlannedNetwork(teacher, "teacher"),
        PlannedNetwork(bare, "designed"),
        *(PlannedNetwork(pool[i], "designed") for i in chosen),
        *(PlannedNetwork(r, "random") for r in randoms),
    )
    made = Plan(basis, precision, seed, networks)
    check_identified(basis, made.architectures)
    return made


def small_plan(
    space: SearchSpace,
    budget: int,
    seed: int = 0,
    *,
    precision: str = "fp32",
    seq_len: int = 128,
    batch: int = 1,
    head: str = "embed",
) -> Plan:
    """Choose a few networks, which determine the costs only together with another table.

    Args:
        space: Whose costs are wanted.
        budget: Networks in all; fewer in a space that has few.
        seed: Of every random choice; the same seed gives the same plan.
        precision: Of the networks.
        seq_len: Tokens.
        batch: Sentences in a run.
        head: ``embed`` or ``hidden``.

    Raises:
        UsageError: If the space has hardly any networks.
    """
    basis = Basis(space, seq_len, batch, head)
    rng = np.random.default_rng(seed)
    teacher = space.teacher.with_precision(precision)
    bare = Architecture((space.skipped_block,), precision)
    special = max(1, round(SPECIAL_SHARE * budget))
    count = min(budget - special, _count_networks(space) // 2)
    drawn = random_architectures(space, rng, count + 1, precision)
    randoms = [network for network in drawn if network != teacher][:count]
    pool = [c for c in candidates(space, rng, precision) if c not in {teacher, bare, *randoms}]
    targets = [random_architecture(space, rng, precision) for _ in range(N_TARGETS)]
    fixed = [teacher, bare][:special]
    designed = special - len(fixed)
    chosen = _greedy(basis, [*fixed, *randoms], pool, targets, designed, math.inf)
    networks = (
        *(PlannedNetwork(n, "teacher" if n == teacher else "designed") for n in fixed),
        *(PlannedNetwork(pool[i], "designed") for i in chosen),
        *(PlannedNetwork(r, "random") for r in randoms),
    )
    return Plan(basis, precision, seed, networks)


def _count_networks(space: SearchSpace) -> int:
    """Networks of a space in one precision.

    Raises:
        UsageError: If a table of so few does not pay.
    """
    count: int = space.count_blocks() ** space.n_blocks
    if count < MIN_NETWORKS:
        raise UsageError(
            f"search space {space.name!r} has {count} networks of one precision; "
            f"a latency table pays from {MIN_NETWORKS} on. Measure them one by one: "
            "nasc bench MODEL.onnx"
        )
    return count


def _greedy(
    basis: Basis,
    fixed: list[Architecture],
    pool: list[Architecture],
    targets: list[Architecture],
    count: int,
    max_leverage: float = MAX_LEVERAGE,
) -> list[int]:
    """Indices into `pool`, chosen for the variance of predictions at `targets` per cost.

    Unknowns are relative to their nominal cost, with a prior variance of `PRIOR_ERROR`
    squared; each network adds one observation with a relative error of `NOISE_ERROR`. More than
    `count` are chosen until no fixed one has so much leverage.
    """
    nominal = basis.nominal()

    def relative(architectures: list[Architecture]) -> tuple[Matrix, Vector]:
        rows = basis.matrix(architectures) * nominal
        totals: Vector = rows.sum(axis=1)
        return rows / totals[:, None] / NOISE_ERROR, totals

    observed, _ = relative(fixed)
    possible, price = relative(pool)
    wanted, _ = relative(targets)
    information = np.eye(len(nominal)) / PRIOR_ERROR**2 + observed.T @ observed
    covariance = np.linalg.inv(information)
    moment = wanted.T @ wanted / len(targets)
    moment += ENTRY_WEIGHT * np.eye(len(nominal)) * float(np.trace(moment)) / len(nominal)
    price = price + float(np.median(price)) / 4  # to start a session: no network is free
    chosen: list[int] = []
    while len(chosen) < len(pool):
        if len(chosen) >= count:
            leverage = np.einsum("ij,jk,ik->i", observed, covariance, observed)
            worst = int(np.argmax(leverage))
            if leverage[worst] < max_leverage:
                break
            moment = np.outer(observed[worst], observed[worst])
        spread = possible @ covariance
        variance = np.einsum("ij,ij->i", spread, possible)
        gain = np.einsum("ij,jk,ik->i", spread, moment, spread) / (1 + variance) / price
        gain[chosen] = -1.0
        best = int(np.argmax(gain))
        chosen.append(best)
        step = spread[best]
        covariance = covariance - np.outer(step, step) / (1 + variance[best])
    return chosen
