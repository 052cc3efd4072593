"""Candidates on boards: a real tracker and real servers of TVM's RPC, in processes of their own."""

from __future__ import annotations

import importlib.metadata
import platform
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tvm", reason="needs apache-tvm (extra 'tvm')")

import tvm
import tvm_rpc
from fake_tracker import answering, framed
from tvm_kernels import out_of_bounds, product

import nasc
from nasc.errors import BoardsRefused
from nasc.latency.table_paths import tables_folder
from nasc.lowering.tuning import board_session, boards, trial_server
from nasc.lowering.tuning.board_code import make_board_code
from nasc.lowering.tuning.boards import BoardPool, _Batch, board_pool, visited
from nasc.lowering.tuning.loop import LoopOptions, tune_kernels
from nasc.lowering.tuning.records import RecordsKey, check_records, open_for_tuning
from nasc.lowering.tuning.trials import Trial
from profilers.context import fingerprint, read_context
from profilers.devices.tvm_tracker import BoardKey, Offer, TrackerAddress
from profilers.errors import DeviceLost, DeviceUnreachable
from profilers.runtimes.tvm_schedules import schedule
from profilers.runtimes.tvm_targets import target_of

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

OFFER = Offer("127.0.0.1", 9090, "key")
VERSIONS = {name: importlib.metadata.version(name) for name in board_session.PACKAGES}
BOARD = board_session.Board("127.0.0.1:9090", {}, VERSIONS, "0.1.14")
"""One of the release that is held."""


def heard(said: list[str]) -> Any:
    return lambda text: said.append(text)


def told(done: int, total: int, message: str) -> None:
    assert 0 <= done <= total


def refused(text: str) -> None:
    raise AssertionError(text)


@pytest.fixture(scope="module")
def farm() -> Iterator[tvm_rpc.Farm]:
    with tvm_rpc.farm() as made:
        made.add("two", "two")
        yield made


def key_of(farm: tvm_rpc.Farm, key: str) -> BoardKey:
    return BoardKey(TrackerAddress.parse(farm.address), key)


def host_target() -> tvm.target.Target:
    cpu = read_context()["cpu"]
    return target_of(cpu["flags"], cpu["arch"])


@pytest.fixture(scope="module")
def pool(farm: tvm_rpc.Farm) -> Iterator[BoardPool]:
    with (
        visited(key_of(farm, "two"), refused) as found,
        board_pool(found, host_target(), 1, refused, timeout_s=20, wait_s=5) as made,
    ):
        assert len(found.addresses) == 2
        assert fingerprint(dict(found.cpu)) == read_context()["fingerprint"]
        yield made


class TestPool:
    """Two boards that stay."""

    def test_measures_on_both(self, pool: BoardPool) -> None:
        modules = [schedule(product(n).module, host_target()) for n in (16, 32, 48, 64)]
        trials = pool(modules)
        assert [trial.error for trial in trials] == [None] * 4
        times = [trial.seconds for trial in trials]
        assert all(seconds is not None and 0 < seconds < 1 for seconds in times)
        assert times[0] < times[3]  # in their order: 64 times the work
        assert sum(use.trials for use in pool.uses.values()) >= 4

    def test_a_crash_costs_that_candidate_alone(self, pool: BoardPool) -> None:
        """TVM's server would serve no more."""
        trials = pool([out_of_bounds(10**12)] * 2 + [product().module] * 2)
        assert [trial.error for trial in trials] == ["ended by signal 11"] * 2 + [None] * 2
        assert [use.lost for use in pool.uses.values()] == [0, 0]

    def test_a_hang_is_ended_there(self, pool: BoardPool) -> None:
        pool._timeout_s, kept = 2.0, pool._timeout_s
        try:
            trials = pool([product(4096).module, product().module])
        finally:
            pool._timeout_s = kept
        assert [trial.error for trial in trials] == ["no end after 2 s", None]

    def test_a_candidate_that_does_not_compile_is_an_error(self, pool: BoardPool) -> None:
        (trial,) = pool([tvm.IRModule({})])
        assert trial.seconds is None
        assert "main" in str(trial.error)

    def test_no_more_are_begun_once_the_time_is_over(self, pool: BoardPool) -> None:
        assert 1 <= len(pool([product().module] * 9, lambda: True)) <= 2


def test_a_run_completes_on_the_other_board_where_one_is_killed(
    farm: tvm_rpc.Farm, tmp_path: Path
) -> None:
    """Half-way, with a candidate on it: no kernel is lost, and records are as of one machine."""
    first, second = farm.add("dying", "dying")
    said: list[str] = []
    target = host_target()
    key = RecordsKey.of("dying", read_context()["fingerprint"], target)
    tasks = [product(n, f"product{n}") for n in (64, 80, 96)]
    killed = threading.Event()

    def kill() -> None:
        first.kill_at_work()
        killed.set()

    with (
        visited(key_of(farm, "dying"), refused) as found,
        open_for_tuning(tmp_path, key) as records,
        board_pool(found, target, 1, heard(said), timeout_s=20, wait_s=3) as pool,
    ):
        assert len(pool([product().module] * 4)) == 4  # both are at work
        threading.Thread(target=kill, daemon=True).start()
        options = LoopOptions(600, round_trials=4, population=4, max_trials=4, at_once=2)
        tuned = tune_kernels(tasks, records, target, pool, options, told)
    assert killed.wait(10)
    assert {kernel.task.name for kernel in tuned} == {"product64", "product80", "product96"}
    assert all(kernel.before_s and kernel.trials and not kernel.failed for kernel in tuned)
    assert pool.uses[first.address].lost == 1
    assert pool.uses[second.address].trials > pool.uses[first.address].trials
    assert len(said) == 1
    assert "a board gave out, its work goes to another one" in said[0]
    assert first.address in said[0]
    check_records(tmp_path, key)


def test_where_no_board_is_left_the_run_says_so(
    farm: tvm_rpc.Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boards, "GONE_S", 0.5)
    (only,) = farm.add("last")
    with (
        visited(key_of(farm, "last"), refused) as found,
        board_pool(found, host_target(), 1, lambda text: None, wait_s=1) as pool,
    ):
        assert pool([product().module])[0].seconds
        only.kill()
        with pytest.raises(DeviceLost) as lost:
            pool([product().module])
    for part in (
        f"no board of 'last' is left at the tracker {farm.address}",
        only.address,
        "the same command goes on",
        "python -m tvm.exec.query_rpc_tracker",
        "python -m tvm.exec.rpc_server --tracker",
    ):
        assert part in str(lost.value)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs a processor that says two names")
def test_where_others_have_all_boards_the_run_says_what_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = BoardKey(TrackerAddress("127.0.0.1", 9190), "pi")
    answers = iter([{"none_free": True}] * 3 + [{"board": "pi:1", "seconds": 0.5}])
    process = SimpleNamespace(ask=lambda request: next(answers))
    code = SimpleNamespace(arch="x86_64", about="", timed="", linker=())
    found: Any = SimpleNamespace(
        farm=key, addresses=("pi:1",), cpu=read_context()["cpu"], code=code, process=process
    )
    monkeypatch.setattr(BoardKey, "served", lambda self: ("pi:1",))
    said: list[str] = []
    pool = BoardPool(found, host_target(), 1, heard(said))
    assert pool([product().module]) == [Trial(0.5, None)]
    assert said == []  # a board that is busy for a moment is nothing to speak of
    answers = iter([{"none_free": True}] * 3 + [{"board": "pi:1", "seconds": 0.5}])
    monkeypatch.setattr(boards, "BUSY_S", 0.0)
    assert pool([product().module]) == [Trial(0.5, None)]
    assert len(said) == 3
    assert said[0].startswith("no board of 'pi' is free: all are busy, or are gone")
    assert key.tracker.query in said[0]


def test_boards_that_differ_are_refused(farm: tvm_rpc.Farm) -> None:
    farm.add("mixed")
    farm.add("mixed", personality=tvm_rpc.PER_LINUX32)
    with (
        pytest.raises(BoardsRefused) as found,
        visited(key_of(farm, "mixed"), refused),
    ):
        pass
    assert "the boards of 'mixed' differ" in str(found.value)
    sides = ("has arch i686, others x86_64", "has arch x86_64, others i686")
    assert any(side in str(found.value) for side in sides)
    assert "Give each kind a key of its own" in str(found.value)


def test_a_board_that_comes_later_and_differs_is_refused(
    farm: tvm_rpc.Farm, pool: BoardPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = {**pool._found.cpu, "flags": ["other"]}
    monkeypatch.setattr(pool, "_found", replace(pool._found, cpu=cpu))
    monkeypatch.setitem(pool._farm, "fingerprint", fingerprint(cpu))
    with pytest.raises(
        BoardsRefused, match=r"differ: 127.* flags beside common ones .* others other"
    ):
        pool([product().module])


SPACE = """
name = "toy"
n_blocks = 1
slots = 2
hidden_sizes = [32, 64]
operations = ["mha", "ffn"]
keep = true
skip = false
[geometry]
layers = 1
hidden = 64
head_size = 16
intermediate = 128
vocab_size = 100
max_positions = 32
"""


def test_nasc_tune_runs_on_boards(farm: tvm_rpc.Farm, tmp_path: Path) -> None:
    """Records are as those of a run on the board itself, but for the device's name."""
    (tmp_path / "toy.toml").write_text(SPACE)
    found = nasc.tune(
        tracker=farm.address,
        key="two",
        space=str(tmp_path / "toy.toml"),
        seq_lens=(16,),
        full_size=True,
        minutes=1e-3,  # kernels are run as they are, and no more
        cache=tmp_path / "cache",
    )
    assert found.device == "two"
    assert found.farm is not None
    assert (found.farm.tracker, found.farm.key) == (farm.address, "two")
    assert len(found.farm.boards) == 2
    assert sum(board.trials for board in found.farm.boards) == len(found.kernels)
    assert all(kernel.before_ms and kernel.error is None for kernel in found.kernels)
    target = host_target()
    assert found.target == str(target)
    key = RecordsKey.of("two", read_context()["fingerprint"], target)
    assert found.records == key.folder(tables_folder(tmp_path / "cache"))
    check_records(found.records, key)


# What a board may tell


@pytest.mark.parametrize(
    ("board", "message"),
    [
        (
            replace(BOARD, versions={**VERSIONS, "apache-tvm": "0.26.0"}),
            r"runs apache-tvm 0\.26\.0, apache-tvm-ffi .*python -m pip install apache-tvm==",
        ),
        (replace(BOARD, versions={"apache-tvm": "0.25.0"}), "runs apache-tvm 0.25.0, and kernels"),
        (replace(BOARD, versions={}, ffi="0.1.9"), "runs TVM's FFI library 0.1.9, and"),
        (replace(BOARD, versions={}, ffi=None), "runs TVM's FFI library of an unknown release"),
    ],
)
def test_a_board_of_another_release_is_refused(board: board_session.Board, message: str) -> None:
    with pytest.raises(board_session.BoardRefused, match=message):
        board_session.check_versions(board)


def test_a_board_of_this_release_is_taken() -> None:
    board_session.check_versions(BOARD)
    board_session.check_versions(replace(BOARD, versions={}))


ABOUT = b"machine: aarch64\ncores: 4\nffi: 0.1.14\npackage: apache_tvm-0.27.0.post1.dist-info\n\n"
CORE = b"processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n"


def test_a_board_is_described_as_it_would_describe_itself() -> None:
    found = board_session._read(ABOUT + CORE + CORE, OFFER)
    assert (found.cpu["arch"], found.cpu["logical_cores"]) == ("aarch64", 4)
    assert (found.cpu["vendor"], found.cpu["model"]) == ("0x41", "0xd0b")
    assert found.cpu["flags"] == ["asimd", "fp"]
    assert (found.versions, found.ffi) == ({"apache-tvm": "0.27.0.post1"}, "0.1.14")


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"\xff" * 100,
        ABOUT.replace(b"cores: 4", b"cores: -4") + CORE,
        ABOUT.replace(b"aarch64", b"a b") + CORE,
        ABOUT.replace(b"0.1.14", b"new") + CORE,
        ABOUT + b"x" * board_session.MAX_TEXT_BYTES,
    ],
)
def test_what_a_board_cannot_be_is_refused(told: bytes) -> None:
    with pytest.raises(board_session.BoardRefused, match=r"127\.0\.0\.1:9090 tells"):
        board_session._read(told, OFFER)


@pytest.mark.parametrize(
    ("times_s", "fastest_s"),
    [
        ([2e-3, 1e-3, 1e9], 1e-3),
        ([1e-3, float("nan"), 1e-3], None),
        ([1e-3, float("inf"), 1e-3], None),
        ([1e-3, 0.0, 1e-3], None),
        ([1e-3, -1e-3, 1e-3], None),
        ([1e9, 1e9, 1e9], None),
    ],
)
def test_a_time_that_cannot_be_is_the_board_s_and_not_the_candidate_s(
    times_s: list[float], fastest_s: float | None
) -> None:
    """Its clock jumps: the candidate is tried on another board."""

    def timed(threads: int, duration_s: float, timeout_s: int, times: Any, *_: Any) -> int:
        times.copyfrom(np.resize(times_s, times.shape))
        return len(times_s)

    session: Any = SimpleNamespace(
        upload=lambda content, target: None,
        load_module=lambda name: {"nasc_timed": timed},
        cpu=tvm.cpu,
    )

    def measured() -> float:
        return board_session.seconds(session, b"", [("float32", (2,))], 1, 0.1, 20.0)

    if fastest_s is not None:
        assert measured() == fastest_s
        return
    with pytest.raises(board_session.BoardLost, match="the board tells a time that cannot be: "):
        measured()


def test_a_board_that_never_answers_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection, as where the power went, and nothing more."""
    import socket

    monkeypatch.setattr(trial_server, "VISIT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as board:
        port = board.getsockname()[1]
        with answering(framed([0, ["127.0.0.1", port, "k:1"]])) as tracker:
            visit = {"host": tracker.host, "port": tracker.port, "key": "k", "wait_s": 5}
            found = trial_server.answer(
                {"timeout_s": 20, "visit": visit | {"boards": 1, "about": []}}
            )
    assert found["lost"] == f"127.0.0.1:{port} gave no answer within 1 s"


def test_where_all_boards_are_lost_it_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = {"board": "b", "lost": "127.0.0.1:1 gave no answer within 60 s"}
    monkeypatch.setattr(boards.TrialProcess, "ask", lambda self, request: lost)
    told = [{"key": "server:k", "addr": ["127.0.0.1", 1]}]
    with answering(framed([0, {"server_info": told, "queue_info": {}}])) as tracker:
        said: list[str] = []
        with (
            pytest.raises(DeviceUnreachable, match=r"none of the boards 127\.0\.0\.1:1 of 'k'"),
            visited(BoardKey(tracker, "k"), heard(said)),
        ):
            pass
    assert len(said) == boards.MOST_LOSSES


def test_code_for_boards_is_made_for_both_architectures(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="needs ziglang (extra 'runner')")
    made = make_board_code(tmp_path)
    assert [code.arch for code in made] == ["x86_64", "aarch64"]
    machines = [int.from_bytes(code.about.read_bytes()[18:20], "little") for code in made]
    assert machines == [62, 183]  # EM_X86_64, EM_AARCH64


# Who takes which candidate


def test_candidates_are_begun_in_order_and_handed_back_once_each() -> None:
    batch = _Batch(3, lambda: False)
    assert [batch.next(), batch.next()] == [0, 1]
    assert (batch.lost(0), batch.lost(0)) == (1, 2)
    batch.hand_back(0)
    assert [batch.next(), batch.next()] == [0, 2]
    for index in (2, 0, 1):
        batch.put(index, Trial(float(index), None))
    assert batch.next() is None
    assert [trial.seconds for trial in batch.results()] == [0.0, 1.0, 2.0]


def test_a_candidate_that_was_handed_back_is_taken_by_who_waits() -> None:
    batch, taken = _Batch(1, lambda: False), []
    assert batch.next() == 0
    waiting = threading.Thread(target=lambda: taken.append(batch.next()))
    waiting.start()
    batch.hand_back(0)
    waiting.join(10)
    assert taken == [0]


def test_a_failure_ends_all() -> None:
    batch = _Batch(5, lambda: False)
    batch.next()
    batch.fail(BoardsRefused("first"))
    batch.fail(BoardsRefused("second"))
    assert batch.next() is None
    assert str(batch.failure) == "first"


def test_what_was_handed_back_is_not_tried_again_once_the_time_is_over() -> None:
    over: list[bool] = []
    batch = _Batch(2, lambda: bool(over))
    assert batch.next() == 0
    batch.hand_back(0)
    over.append(True)
    assert batch.next() is None
    (trial,) = batch.results()
    assert trial.seconds is None
    assert "no board was free" in str(trial.error)
