"""Where `nasc tune` runs candidates: this machine, or boards over TVM's RPC."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import profilers
from nasc.errors import UsageError
from nasc.utils.progress import Reporter
from profilers.devices.tvm_tracker import BoardKey


@dataclass(frozen=True, slots=True)
class TunedBoard:
    """What a board of a farm did.

    Attributes:
        address: Of its server.
        trials: Candidates that it ran.
        lost: Times that it gave out with one; another board took that.
    """

    address: str
    trials: int
    lost: int


@dataclass(frozen=True, slots=True)
class TunedFarm:
    """Boards that kernels were tuned on.

    Attributes:
        tracker: That knows them, HOST:PORT.
        key: That they serve.
        boards: Every one that was met.
    """

    tracker: str
    key: str
    boards: tuple[TunedBoard, ...]


@dataclass(frozen=True, slots=True)
class TuningPlace:
    """Where candidates run.

    Attributes:
        cpu: The processor there, as `profilers.read_context` describes it.
        at_once: Candidates that run side by side.
        measure: Opens what measures them, for a target.
        boards: What boards did so far; None of this machine.
    """

    cpu: Mapping[str, Any]
    at_once: int
    measure: Callable[[Any], contextlib.AbstractContextManager[Any]]
    boards: Callable[[], TunedFarm | None]


@contextlib.contextmanager
def tuning_place(farm: BoardKey | None, threads: int, reporter: Reporter) -> Iterator[TuningPlace]:
    """This machine, or the boards of a key at a tracker.

    Args:
        farm: The boards; None is this machine.
        threads: That kernels run on.
        reporter: Told of boards.

    Raises:
        UsageError: If boards have fewer cores.
        DeviceUnreachable, BoardsRefused, ExportError: See `nasc.lowering.tuning.boards.visited`.
    """
    from nasc.lowering.tuning.trials import one_by_one, trial_server

    if farm is None:

        @contextlib.contextmanager
        def here(target: Any) -> Iterator[Any]:
            with trial_server(target, threads) as server:
                yield one_by_one(server.measure)

        yield TuningPlace(profilers.read_context()["cpu"], 1, here, lambda: None)
        return
    from nasc.lowering.tuning.boards import board_pool, visited

    reporter.stage(f"Boards {farm.key!r}")(0, 1, str(farm.tracker))
    with visited(farm, reporter.say) as found:
        cores = found.cpu["logical_cores"]
        if threads > cores:
            raise UsageError(f"--threads {threads}: the boards of {farm.key!r} have {cores} cores")
        reporter.say(
            f"{len(found.addresses)} board(s) of {farm.key!r} at {farm.tracker}: "
            f"{found.cpu['arch']}, {found.cpu['model']}, {cores} cores"
        )
        met: list[Any] = []

        @contextlib.contextmanager
        def there(target: Any) -> Iterator[Any]:
            with board_pool(found, target, threads, reporter.say) as pool:
                met.append(pool.uses)
                yield pool

        def tuned() -> TunedFarm:
            uses = met[0].values() if met else ()
            return TunedFarm(
                str(farm.tracker),
                farm.key,
                tuple(TunedBoard(use.address, use.trials, use.lost) for use in uses),
            )

        yield TuningPlace(found.cpu, len(found.addresses), there, tuned)
