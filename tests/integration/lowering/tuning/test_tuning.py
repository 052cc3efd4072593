"""Kernels of a small network, tuned by a made-up and by the real way to measure."""

import contextlib
import itertools
import json
import shutil
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("tvm", reason="needs apache-tvm (extra 'tvm')")

import tvm
import tvm_ffi
from processes import gone
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm_kernels import out_of_bounds, product

from nasc.errors import NascError, RecordsDamaged, RecordsRefused
from nasc.lowering.tuning import loop
from nasc.lowering.tuning.confirm import confirmed
from nasc.lowering.tuning.kernels import find_kernels
from nasc.lowering.tuning.loop import LoopOptions, Tuned, tune_kernels
from nasc.lowering.tuning.records import (
    KEY_FILE,
    RecordsKey,
    best_records,
    check_records,
    open_for_tuning,
)
from nasc.lowering.tuning.trials import ROUNDS, Trial, TrialServer, one_by_one, trial_server
from nasc.lowering.tvm_module import DATABASE
from profilers.runtimes.tvm_schedules import schedule

pytestmark = [pytest.mark.tvm, pytest.mark.slow]

TARGET = tvm.target.Target({"kind": "llvm", "num-cores": 1})
KEY = RecordsKey.of("board", "cpu", TARGET)


def ticking(step_s: float = 1.0):
    """A clock that goes on by a step whenever it is looked at."""
    now = [0.0]

    def clock() -> float:
        now[0] += step_s
        return now[0]

    return clock


def silent(done: int, total: int, message: str) -> None:
    assert 0 <= done <= total


def tuned(folder, tasks, measure, seconds=60.0, **options) -> list[Tuned]:
    folder.mkdir(exist_ok=True)
    given = LoopOptions(seconds, round_trials=2, population=4, **options)
    with open_for_tuning(folder, KEY) as records:
        return tune_kernels(tasks, records, TARGET, one_by_one(measure), given, silent, ticking())


def always(seconds: float):
    return lambda module: Trial(seconds, None)


def then(first_s: float, seconds: float):
    """The kernel as it is without a record, which comes first, and its candidates."""
    first = []

    def measure(module):
        first.append(module)
        return Trial(first_s if tvm_ffi.structural_equal(module, first[0]) else seconds, None)

    return measure


def lines(folder) -> list[int]:
    return [len((folder / name).read_text().splitlines()) for name in DATABASE]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with records of one kernel."""
    folder = tmp_path_factory.mktemp("made") / "records"
    tuned(folder, [product()], then(2e-3, 1e-3), max_trials=2)
    return folder


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made, tmp_path / "copy")


def test_records_are_found_again(copied):
    check_records(copied, KEY)
    assert lines(copied) == [1, 1]
    with open_for_tuning(copied, KEY) as records:
        assert records.best_s(product().module) == pytest.approx(1e-3)
        assert records.best_s(product(16).module) is None


def test_a_run_goes_on(copied):
    (kernel,) = tuned(copied, [product()], then(5e-3, 4e-4), max_trials=2)
    assert (kernel.before_s, kernel.best_s, kernel.trials) == (5e-3, 4e-4, 2)
    assert lines(copied) == [1, 2]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", "llvm -mcpu=other"),
        ("tvm_version", "0.26.0"),
        ("cpu", "other"),
        ("device", "phone"),
    ],
)
def test_records_of_another_target_are_refused(copied, field, value):
    key = json.loads((copied / KEY_FILE).read_text())
    (copied / KEY_FILE).write_text(json.dumps({**key, field: value}))
    with pytest.raises(RecordsRefused, match=f"not for this: {field} '{value}'"):
        check_records(copied, KEY)
    with (
        pytest.raises(RecordsRefused, match="nasc tune --device board"),
        open_for_tuning(copied, KEY),
    ):
        pass


def test_lines_of_another_target_are_refused(copied):
    name = DATABASE[1]
    text = (copied / name).read_text()
    assert '"num-cores":1' in text.replace(" ", "")
    (copied / name).write_text(text.replace(" ", "").replace('"num-cores":1', '"num-cores":4'))
    with pytest.raises(RecordsRefused, match=f"line 1 of '.*{name}' is of another target"):
        check_records(copied, KEY)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (1, lambda lines: [lines[0], lines[0][:40]], "line 2 of .*record.json' is no JSON"),
        (0, lambda lines: [lines[0][:40]], "line 1 of .*workload.json' is no JSON"),
        (0, lambda lines: [], "line 1 of .*record.json' is a record of kernel 0, of 0"),
        (1, lambda lines: ["[0, [[], [-1.0], {}, []]]"], "line 1 of .* states no times"),
        (1, lambda lines: ["[0, [[], [Infinity], {}, []]]"], "line 1 of .* states no times"),
        (1, lambda lines: ["[0, [[], [], {}, []]]"], "line 1 of .* states no times"),
        (1, lambda lines: ["{}"], "line 1 of .* is no pair"),
    ],
)
def test_a_damaged_line_is_named(copied, file, change, message):
    path = copied / DATABASE[file]
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(RecordsDamaged, match=message):
        check_records(copied, KEY)


def test_a_missing_file_is_damage(copied):
    (copied / DATABASE[0]).unlink()
    with pytest.raises(RecordsDamaged, match="rm -r"):
        check_records(copied, KEY)


def test_records_without_their_key_are_not_begun_anew(copied):
    (copied / KEY_FILE).unlink()
    with pytest.raises(RecordsDamaged, match="holds tuning records, and not what they are for"):
        open_for_tuning(copied, KEY).__enter__()
    assert lines(copied) == [1, 1]


def test_only_the_best_record_of_a_kernel_counts(copied):
    (text,) = best_records(copied, KEY).kernels.values()
    tuned(copied, [product()], then(5e-3, 4e-4), max_trials=2)
    (better,) = best_records(copied, KEY).kernels.values()
    assert (text[0], json.loads(text[1])[1]) == (better[0], [1e-3])
    assert json.loads(better[1])[1] == [4e-4]
    tuned(copied, [product()], then(5e-3, 1e-3), max_trials=2)
    assert list(best_records(copied, KEY).kernels.values()) == [better]


@pytest.mark.parametrize(("tuned_s", "kept"), [(0.9e-3, 1), (0.97e-3, 0), (None, 0)])
def test_records_are_confirmed_in_turn(copied, tuned_s, kept):
    """By the fastest of each: one run of either was in a bad moment."""
    noise, plain = itertools.cycle([5.0, 1.0, 1.0]), schedule(product().module, TARGET)

    def measure(module):
        seconds = 1e-3 if tvm_ffi.structural_equal(module, plain) else tuned_s
        return Trial(seconds and seconds * next(noise), None)

    found = confirmed(best_records(copied, KEY), TARGET, one_by_one(measure))
    assert len(found.kernels) == kept


def test_a_kernel_without_a_record_is_none(tmp_path):
    assert best_records(tmp_path / "missing", KEY) is None
    tuned(tmp_path, [product()], then(1e-3, 2e-3), max_trials=2)
    assert best_records(tmp_path, KEY) is None


def test_a_kernel_that_never_runs_does_not_take_all_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "FUTILE_TRIALS", 4)
    tasks = [product(16, "stuck"), product(32, "well")]

    def measure(module):
        return Trial(None, "no") if _rows(module) == 16 else Trial(1e-3, None)

    kernels = tuned(tmp_path, tasks, measure, seconds=50)
    trials = {kernel.task.name: kernel.trials for kernel in kernels}
    assert trials["stuck"] == 4
    assert trials["well"] > 0


def _rows(module) -> int:
    return int(ArgInfo.from_prim_func(module["main"])[0].shape[0])


def test_no_records_is_said(tmp_path):
    with pytest.raises(RecordsRefused, match=r"holds no tuning records \(key.json is missing\)"):
        check_records(tmp_path, KEY)


@pytest.mark.parametrize("at", [0, 2, 8, 12, 13, 26])
def test_a_run_killed_at_any_moment_leaves_records_that_read(tmp_path, at):
    """Whatever is called outside: the run ends there, and the next one goes on."""
    calls, timed = 0, then(2e-3, 1e-3)

    def measure(module):
        nonlocal calls
        calls += 1
        if calls > at:
            raise KeyboardInterrupt
        return timed(module)

    folder = tmp_path / "records"
    with pytest.raises(KeyboardInterrupt):
        tuned(folder, [product()], measure, seconds=1e9)
    check_records(folder, KEY)
    # First the kernel without a record; then two candidates, the faster in turn with that.
    assert lines(folder)[1] == int(at > 2 + 2 * ROUNDS)


def test_killed_between_the_files_records_read(copied, monkeypatch):
    """Kernels are written first: with those of the new and records of the old all is well."""
    from nasc.lowering.tuning import records as module

    real, written = module.write_atomically, []

    def killed(path, content):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        real(path, content)

    monkeypatch.setattr(module, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        tuned(copied, [product(16)], then(2e-3, 1e-3), max_trials=2)
    check_records(copied, KEY)
    assert lines(copied) == [2, 1]


def test_time_goes_where_it_is_spent(tmp_path):
    """Of two kernels that gain alike, the one that runs more often is tuned more."""
    tasks = [product(16, "rare", count=1), product(32, "often", count=50)]
    often, rare = tuned(tmp_path, tasks, always(1e-3), seconds=30)
    assert (often.task.name, rare.task.name) == ("often", "rare")
    assert often.trials > rare.trials


def test_time_goes_first_where_less_is_computed_in_it(tmp_path):
    """Of two kernels that take as long, the one that computes less has more to gain."""
    tasks = [product(32, "fast"), product(16, "slow")]
    kernels = tuned(tmp_path, tasks, always(1e-3), seconds=4)
    assert {k.task.name: k.trials > 0 for k in kernels} == {"fast": False, "slow": True}


def test_what_was_timed_in_a_bad_moment_is_timed_again(tmp_path):
    """Else what is no faster becomes a record: the machine was busy when the kernel came first."""
    times = itertools.chain([9e-3], itertools.repeat(2e-3))
    measure = lambda module: Trial(next(times), None)  # noqa: E731
    (kernel,) = tuned(tmp_path, [product()], measure, max_trials=2)
    assert (kernel.before_s, kernel.best_s) == (2e-3, None)
    assert lines(tmp_path) == [1, 0]


def test_a_candidate_that_was_timed_in_a_good_moment_is_timed_again(tmp_path):
    """In turn with the kernel as it is: what is no faster there is no record."""
    times = itertools.chain([2e-3, 1e-3], itertools.repeat(2e-3))
    measure = lambda module: Trial(next(times), None)  # noqa: E731
    (kernel,) = tuned(tmp_path, [product()], measure, max_trials=2)
    assert (kernel.before_s, kernel.best_s) == (2e-3, None)
    assert lines(tmp_path) == [1, 0]


@pytest.mark.parametrize("seconds", [0.96e-3, 1e-3, 2e-3])
def test_a_candidate_that_is_not_faster_than_no_record_is_not_kept(tmp_path, seconds):
    """Whatever has a record is compiled by it."""
    (kernel,) = tuned(tmp_path, [product()], then(1e-3, seconds), max_trials=2)
    assert (kernel.best_s, kernel.now_s, kernel.trials, kernel.failed) == (None, 1e-3, 2, 0)
    assert lines(tmp_path) == [1, 0]


def test_failing_candidates_are_counted_and_not_kept(tmp_path):
    answers = iter([Trial(1e-3, None), *[Trial(None, "ended by signal 11")] * 50])
    (kernel,) = tuned(tmp_path, [product()], lambda m: next(answers), max_trials=2)
    assert (kernel.best_s, kernel.failed) == (None, 2)
    assert kernel.error == "ended by signal 11"
    assert kernel.now_s == 1e-3
    assert lines(tmp_path) == [1, 0]


def test_kernels_are_counted_once_and_what_only_moves_is_left_out():
    def network(copies: int) -> tvm.IRModule:
        from tvm import relax
        from tvm.relax import transform

        builder = relax.BlockBuilder()
        x = relax.Var("x", relax.TensorType((8, 8), "float32"))
        index = relax.Var("index", relax.TensorType((8,), "int64"))
        with builder.function("main", [x, index]):
            with builder.dataflow():
                value = builder.emit(relax.op.take(x, index, axis=0))
                for _ in range(copies):
                    value = builder.emit(relax.op.matmul(value, value))
                value = builder.emit(relax.op.permute_dims(value))
                result = builder.emit_output(value)
            builder.emit_func_output(result)
        passes = (
            transform.LegalizeOps(),
            transform.AnnotateTIROpPattern(),
            transform.FuseOps(),
            transform.FuseTIR(),
        )
        with TARGET:
            return tvm.transform.Sequential(passes)(builder.finalize())

    found = find_kernels([network(3), network(1)], TARGET)
    (task,) = found.tasks
    assert (task.count, task.weight, task.flops) == (3, 2.0, 2.0 * 8**3)
    assert task.shapes == ("float32[8,8]",) * 3
    assert len(found.left_out) == 2


@pytest.fixture(scope="module")
def server():
    with trial_server(TARGET, timeout_s=20) as server:
        yield server


class TestTrialServer:
    """Candidates in processes of their own."""

    def test_measures(self, server):
        trial = server.measure(schedule(product().module, TARGET))
        assert trial.error is None
        assert trial.seconds > 0

    def test_without_torch(self, server):
        """Which TVM imports wherever it finds it: a process starts in a third of the time."""
        assert server.measure(product().module).seconds > 0
        maps = Path(f"/proc/{server._process._process.pid}/maps").read_text()
        assert "libtvm" in maps
        assert "libtorch" not in maps

    def test_a_broken_candidate_is_an_error(self, server):
        trial = server.measure(tvm.IRModule({}))
        assert trial.seconds is None
        assert "main" in trial.error

    def test_a_crash_costs_that_candidate_alone(self, server):
        """It writes far outside of its memory."""
        assert server.measure(out_of_bounds(10**12)).error.startswith("ended by signal")
        assert server.measure(product().module).seconds > 0

    def test_a_hang_is_ended(self, server):
        server._timeout_s, kept = 0.3, server._timeout_s
        try:
            trial = server.measure(product(4096).module)
        finally:
            server._timeout_s = kept
        assert trial.error == "no end after 0.3 s"
        assert server.measure(product().module).seconds > 0

    def test_a_server_that_was_killed_starts_anew(self, server):
        assert server.measure(product().module).seconds > 0
        server._process._process.kill()
        assert server.measure(product().module).seconds > 0

    def test_an_end_ends_the_candidate_too(self):
        """It runs in a fork, which would go on for ever."""
        with trial_server(TARGET, timeout_s=600) as own:
            assert own.measure(product().module).seconds > 0
            threading.Thread(target=ended, args=(own, product(8192).module), daemon=True).start()
            pid = own._process._process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children")
            while not (child := children.read_text().split()):
                time.sleep(0.01)
        assert gone(int(child[0]))

    def test_a_real_run(self, server, tmp_path):
        (kernel,) = tuned(tmp_path, [product()], server.measure, max_trials=2)
        assert kernel.trials == 2
        assert kernel.before_s > 0
        assert (kernel.best_s or 1) > 0
        check_records(tmp_path, KEY)


def ended(server, module) -> None:
    with contextlib.suppress(NascError):
        server.measure(module)


def test_a_server_that_cannot_start_says_so(monkeypatch):
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    with pytest.raises(NascError, match="ends at once"):
        TrialServer(TARGET).measure(product().module)
