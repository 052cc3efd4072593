"""Candidates run on boards: those that a tracker of TVM's RPC has under one key.

Each is compiled here, and taken to the next board that is free; a board that gives out costs
nothing but time, what it was given goes to another one.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import tvm

from device_profiles.temporary import temporary_folder
from nasc.errors import BoardsRefused
from nasc.lowering.tuning.board_code import BoardCode, make_board_code
from nasc.lowering.tuning.trials import DURATION_S, TIMEOUT_S, Trial, TrialProcess
from nasc.utils.progress import Say
from profilers.context import fingerprint
from profilers.devices.tvm_tracker import BoardKey
from profilers.errors import DeviceLost, DeviceUnreachable

MOST_BOARDS = 32
"""That are used at once: each takes a process here, with TVM in it."""

WAIT_S = 20.0
"""For a board to become free before it is looked whether there is any."""

MOST_LOSSES = 3
"""A candidate whose boards gave out so many times is not tried again."""

GONE_S = 30.0
"""So long no board may be there before a run ends: servers are started anew."""

BUSY_S = 60.0
"""So long nothing may come back, though boards are there, before it is said what is waited for."""


@dataclass(frozen=True, slots=True)
class FarmBoards:
    """What the boards of a farm are: all the same.

    Attributes:
        farm: Theirs.
        addresses: Of their servers, as they were found, `MOST_BOARDS` at most.
        cpu: Their processor, as `profilers.context.read_context` describes it.
        code: What they are sent.
        process: That visited them, and runs more.
    """

    farm: BoardKey
    addresses: tuple[str, ...]
    cpu: Mapping[str, Any]
    code: BoardCode
    process: TrialProcess


@contextlib.contextmanager
def visited(farm: BoardKey, say: Say) -> Iterator[FarmBoards]:
    """Boards that were asked what they are; what they are sent lies there within the block.

    Raises:
        DeviceUnreachable: If the tracker or all boards cannot be reached, or all are busy.
        BoardsRefused: If they differ, or run another release of TVM than this machine.
        ExportError: If code for boards cannot be made.
    """
    addresses = farm.addresses()[:MOST_BOARDS]
    with temporary_folder() as folder, contextlib.closing(TrialProcess()) as process:
        codes = make_board_code(folder)
        told, lost = _visits(farm, addresses, codes, process)
        for reason in lost:
            say(f"a board is left out: {reason}")
        if not told:
            raise DeviceUnreachable(
                f"none of the boards {', '.join(addresses)} of {farm.key!r} at the tracker "
                f"{farm.tracker} could be visited (tried for {WAIT_S:g} s): "
                f"{'; '.join(lost) or 'all are busy'}. See which are free: {farm.tracker.query}. "
                "Where an address cannot be reached from here, start that board's server with "
                f"--custom-addr: {farm.start} --custom-addr ADDRESS",
                "no board can be visited",
            )
        for board in told[1:]:
            _check_alike(told[0]["cpu"], board["cpu"], board["address"], farm)
        cpu = told[0]["cpu"]
        code = next((code for code in codes if code.arch == cpu["arch"]), None)
        if code is None:
            raise BoardsRefused(
                f"the boards of {farm.key!r} are of {cpu['arch']}, and there is no code for them. "
                "Install the compiler that makes it: python -m pip install ziglang"
            )
        yield FarmBoards(farm, addresses, cpu, code, process)


def _visits(
    farm: BoardKey, addresses: Sequence[str], codes: Sequence[BoardCode], process: TrialProcess
) -> tuple[list[dict[str, Any]], list[str]]:
    """What boards tell that are free, and why others do not."""
    request = {
        "timeout_s": TIMEOUT_S,
        "visit": asdict(farm.tracker)
        | {
            "key": farm.key,
            "wait_s": WAIT_S,
            "boards": len(addresses),
            "about": [str(code.about) for code in codes],
        },
    }
    lost: list[str] = []
    for _ in range(MOST_LOSSES):
        found = process.ask(request)
        _check(found, farm)
        if "boards" in found:
            return found["boards"], lost + found["lost"]
        # One that never answers ends the visit; the tracker does not offer it again.
        lost.append(str(found.get("lost", "all are busy")))
    return [], lost


def _check(answered: Mapping[str, Any], farm: BoardKey) -> None:
    """Raise what no other board would mend.

    Raises:
        DeviceUnreachable: If the tracker cannot be reached.
        BoardsRefused: If a board is none that kernels are tuned on.
    """
    if "unreachable" in answered:
        raise DeviceUnreachable(answered["unreachable"])
    reason = answered.get("refused", answered.get("error"))
    if reason is not None:
        raise BoardsRefused(
            f"a board of {farm.key!r} at the tracker {farm.tracker} cannot be used: {reason}. Who "
            f"serves the key: {farm.tracker.query}"
        )


def _check_alike(
    cpu: Mapping[str, Any], other: Mapping[str, Any], address: str, farm: BoardKey
) -> None:
    """Refuse boards of several kinds.

    Raises:
        BoardsRefused: If the processors differ; says in what.
    """
    if fingerprint(dict(cpu)) == fingerprint(dict(other)):
        return
    parts = []
    for name in cpu:
        mine, its = cpu[name], other.get(name)
        if mine == its:
            continue
        if name == "flags":
            more = sorted(set(its or ()) - set(mine))
            less = sorted(set(mine) - set(its or ()))
            name, mine, its = "flags beside common ones", " ".join(less), " ".join(more)
        parts.append(f"{name} {str(its)[:200] or 'none'}, others {str(mine)[:200] or 'none'}")
    raise BoardsRefused(
        f"the boards of {farm.key!r} differ: {address} has {'; '.join(parts)}. What is tuned on "
        f"one is not for the other. Give each kind a key of its own: python -m tvm.exec.rpc_server "
        f"--tracker {farm.tracker} --key NAME"
    )


@dataclass(slots=True)
class BoardUse:
    """What a board did in a run.

    Attributes:
        address: Of its server.
        trials: Candidates that came back from it.
        lost: Times that it gave out with one.
    """

    address: str
    trials: int = 0
    lost: int = 0


class BoardPool:
    """Measures candidates on all boards of a farm at once, see `trials.Measure`."""

    def __init__(
        self,
        found: FarmBoards,
        target: tvm.target.Target,
        threads: int,
        say: Say,
        timeout_s: float = TIMEOUT_S,
        wait_s: float = WAIT_S,
    ) -> None:
        """A pool; its processes start with the first candidates.

        Args:
            found: The boards.
            target: What candidates are compiled for.
            threads: That they run on there.
            say: Told of boards that give out.
            timeout_s: Of a candidate, once to compile and once to run.
            wait_s: For a board to become free before it is looked whether there is any.
        """
        self._found = found
        self._target = tvm.ir.save_json(target)
        self._say = say
        self._timeout_s = timeout_s
        self._farm = asdict(found.farm.tracker) | {
            "key": found.farm.key,
            "fingerprint": fingerprint(dict(found.cpu)),
            "threads": threads,
            "wait_s": wait_s,
            "code": {
                "arch": found.code.arch,
                "about": str(found.code.about),
                "timed": str(found.code.timed),
                "linker": list(found.code.linker),
            },
        }
        self._processes = [found.process, *(TrialProcess() for _ in found.addresses[1:])]
        self._lock = threading.Lock()
        self._gone_since: float | None = None
        self._quiet_since = time.monotonic()
        self.uses = {address: BoardUse(address) for address in found.addresses}

    def __call__(
        self, modules: Sequence[Any], is_over: Callable[[], bool] = lambda: False
    ) -> list[Trial]:
        """See `trials.Measure`.

        Raises:
            DeviceLost: If no board is left.
            DeviceUnreachable: If the tracker is gone.
            BoardsRefused: If a board that came differs from the others.
            NascError: If the processes that compile cannot run.
        """
        batch = _Batch(len(modules), is_over)
        self._quiet_since = time.monotonic()
        texts = [tvm.ir.save_json(module) for module in modules]
        workers = [
            threading.Thread(target=self._work, args=(process, batch, texts), daemon=True)
            for process in self._processes
        ]
        for worker in workers:
            worker.start()
        for _ in workers:  # a queue's wait, unlike a thread's, ends with a signal
            batch.ended.get()
            if batch.failure is not None:
                raise batch.failure
        return batch.results()

    def _work(self, process: TrialProcess, batch: _Batch, texts: Sequence[str]) -> None:
        try:
            while (index := batch.next()) is not None:
                answered = process.ask(
                    {
                        "module": texts[index],
                        "target": self._target,
                        "timeout_s": self._timeout_s,
                        "duration_s": DURATION_S,
                        "farm": self._farm,
                    }
                )
                if "none_free" in answered or "unreachable" in answered:
                    self._check_any()
                    batch.hand_back(index)
                    continue
                with self._lock:
                    self._take(batch, index, answered)
        except Exception as error:  # told in the thread that waits
            batch.fail(error)
        finally:
            batch.ended.put(None)

    def _take(self, batch: _Batch, index: int, answered: Mapping[str, Any]) -> None:
        """Take in what came out of a candidate, or hand it back."""
        farm = self._found.farm
        address = answered.get("board")
        if "differs" in answered:
            _check_alike(self._found.cpu, answered["differs"], str(address), farm)
        if "refused" in answered:
            _check(answered, farm)
        use = None if address is None else self.uses.setdefault(address, BoardUse(address))
        if "lost" in answered:
            lost = str(answered["lost"])
            if use is not None:
                use.lost += 1
                lost = lost if use.address in lost else f"{use.address}: {lost}"
            self._say(f"a board gave out, its work goes to another one: {lost}")
            if batch.lost(index) < MOST_LOSSES:
                batch.hand_back(index)
            else:
                batch.put(index, Trial(None, f"lost {MOST_LOSSES} times: {lost}"))
            return
        if use is not None:
            use.trials += 1
        self._gone_since, self._quiet_since = None, time.monotonic()
        batch.put(index, Trial(answered.get("seconds"), answered.get("error")))

    def _check_any(self) -> None:
        """Raise where no board has been there for long; waits a little.

        Raises:
            DeviceLost: If none has been there for `GONE_S`.
        """
        farm, reason = self._found.farm, "none is there"
        try:
            if farm.served():
                self._gone_since = None
                self._say_busy()
                return
        except DeviceUnreachable as error:
            reason = error.reason
        now = time.monotonic()
        self._gone_since = self._gone_since or now
        if now - self._gone_since < GONE_S:
            time.sleep(1.0)
            return
        raise DeviceLost(
            f"no board of {farm.key!r} is left at the tracker {farm.tracker}: {reason}, for "
            f"{GONE_S:g} s; there were {', '.join(self.uses)}. Records of earlier rounds are kept, "
            f"and the same command goes on. See: {farm.tracker.query}. Start a server on a board: "
            f"{farm.start}",
            "no board is left",
        )

    def _say_busy(self) -> None:
        """Say what is waited for where nothing comes back: others may have the boards for hours."""
        now = time.monotonic()
        if now - self._quiet_since >= BUSY_S:
            farm, self._quiet_since = self._found.farm, now
            self._say(
                f"no board of {farm.key!r} is free: all are busy, or are gone and the tracker "
                f"{farm.tracker} does not know it. See: {farm.tracker.query}. The run waits; it "
                "may be ended (Ctrl-C), records of earlier rounds are kept"
            )

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.close()


class _Batch:
    """Candidates that are measured together, which several threads take from."""

    def __init__(self, count: int, is_over: Callable[[], bool]) -> None:
        self._count = count
        self._is_over = is_over
        self._lock = threading.Condition()
        self._begun = 0
        self._again: list[int] = []
        self._losses: dict[int, int] = {}
        self._found: dict[int, Trial] = {}
        self.failure: Exception | None = None
        self.ended: queue.SimpleQueue[None] = queue.SimpleQueue()

    def next(self) -> int | None:
        """The next candidate; waits while others may still hand theirs back. None: all is done."""
        with self._lock:
            while self.failure is None:
                if self._again and self._is_over():
                    for index in self._again:
                        self._found[index] = Trial(None, "no board was free until time was over")
                    self._again.clear()
                if self._again:
                    return self._again.pop()
                more = self._begun < self._count
                if more and not (self._begun and self._is_over()):
                    self._begun += 1
                    return self._begun - 1
                if len(self._found) == self._begun:
                    break
                self._lock.wait(1.0)
            return None

    def lost(self, index: int) -> int:
        """How often a board gave out with a candidate, this time included."""
        self._losses[index] = self._losses.get(index, 0) + 1
        return self._losses[index]

    def hand_back(self, index: int) -> None:
        """A candidate is to be tried again."""
        with self._lock:
            self._again.append(index)
            self._lock.notify_all()

    def put(self, index: int, trial: Trial) -> None:
        """What came out of a candidate."""
        with self._lock:
            self._found[index] = trial
            self._lock.notify_all()

    def fail(self, error: Exception) -> None:
        """End all: the first error counts."""
        with self._lock:
            self.failure = self.failure or error
            self._lock.notify_all()

    def results(self) -> list[Trial]:
        """Of as many of the first as were begun."""
        return [self._found[index] for index in range(self._begun)]


@contextlib.contextmanager
def board_pool(
    found: FarmBoards, target: tvm.target.Target, threads: int, say: Say, **options: float
) -> Iterator[BoardPool]:
    """A pool that ends with the block.

    Args:
        found: See `BoardPool`.
        target: See there.
        threads: See there.
        say: See there.
        options: Further ones of it.
    """
    pool = BoardPool(found, target, threads, say, **options)
    try:
        yield pool
    finally:
        pool.close()
