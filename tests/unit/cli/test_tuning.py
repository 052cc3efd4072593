"""`nasc tune` on the command line: what it passes on, what it refuses, what it prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from fake_tracker import SILENT, answering, framed

from nasc.context.settings import Settings
from nasc.errors import UsageError
from nasc.pipelines.tune import TunedKernel, TuneResult
from nasc.pipelines.tuning_place import TunedBoard, TunedFarm

KERNEL = TunedKernel(
    "product", "0" * 16, ("float32[8,8]",), 2, 0.5, 2e6, 0.5, 0.25, 32, 1, "ended by signal 11"
)
BARE = TunedKernel("softmax", "1" * 16, ("float32[8]",), 1, 0.5, 1e6, None, None, 0, 0, None)
FARM = TunedFarm("h:1", "rpi5", (TunedBoard("10.0.0.7:9090", 4, 1), TunedBoard("b:1", 9, 0)))
RESULT = TuneResult("rpi5", "llvm", Path("r"), "xgb", 3, (KERNEL, BARE), ("take",), FARM)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the pipeline was called with."""
    options: dict[str, Any] = {}

    def tune(**more: Any) -> TuneResult:
        options.update(more)
        return RESULT

    monkeypatch.setattr("nasc.pipelines.tune.tune", tune)
    return options


def test_options_are_passed_on(nasc: Callable[..., Result], given: dict[str, Any]) -> None:
    words = "--tracker h:1 --key rpi5 --minutes 2.5 --precision fp32 --seq-len 32 --seq-len 64"
    more = "--batch 2 --threads 3 --head hidden --full-size --trials 8 --seed 5 --space nas-bert"
    done = nasc("tune", *words.split(), *more.split())
    assert done.exit_code == 0, done.output
    given.pop("reporter")
    assert given == {
        "cache": None,
        "device": "host",
        "tracker": "h:1",
        "key": "rpi5",
        "minutes": 2.5,
        "precision": "fp32",
        "seq_lens": (32, 64),
        "batch": 2,
        "threads": 3,
        "head": "hidden",
        "full_size": True,
        "trials": 8,
        "seed": 5,
        "space": "nas-bert",
        "teacher": None,
    }


def test_what_it_prints_for_people(nasc: Callable[..., Result], given: dict[str, Any]) -> None:
    told = " ".join(nasc("tune").stdout.split())
    for part in (
        "32 (1 failed)",
        "product failed ended by signal 11",
        "no record softmax",
        "never tuned take",
        "board 10.0.0.7:9090 4 candidates, gave out 1 times",
        "board b:1 9 candidates",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--minutes 0", "0.0 is not in the range x>0"),
        ("--minutes 1e9", "--minutes must be above 0, at most 10080"),
        ("--minutes soon", "'soon' is not a number"),
        ("--trials 0", "0 is not in the range x>=1"),
        ("--seq-len 0", "0 is not in the range x>=1"),
        ("--precision fp8", "'fp8' is not one of"),
        ("--precision int8", "there is nothing to tune"),
        ("--head embedd", "unknown head 'embedd'"),
        ("--device raspberrypi5", "is reached by ssh, and kernels are tuned on this"),
        ("--device nowhere", "unknown device 'nowhere'"),
        ("--tracker h:1", "--tracker needs --key"),
        ("--key rpi5", "--key needs --tracker"),
        ("--trakcer h:1", "No such option '--trakcer'"),
    ],
)
def test_bad_values_are_one_message(words: str, message: str, nasc: Callable[..., Result]) -> None:
    done = nasc("tune", *words.split())
    assert done.exit_code in (1, 2)
    assert done.stdout == ""
    assert done.stderr.count("Error: ") == 1
    assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("tracker", "key", "message"),
    [("nowhere", "rpi5", "a tracker is HOST:PORT"), ("h:1", "a b", "a key of boards is")],
)
def test_a_tracker_that_is_none_is_refused(
    tracker: str, key: str, message: str, nasc: Callable[..., Result]
) -> None:
    done = nasc("tune", "--tracker", tracker, "--key", key)
    assert (done.exit_code, done.stdout) == (1, "")
    assert message in " ".join(done.stderr.split())


@pytest.mark.tvm
@pytest.mark.slow
class TestTrackers:
    """Found out before anything is compiled."""

    def test_that_is_not_there(self, nasc: Callable[..., Result]) -> None:
        pytest.importorskip("tvm", reason="needs apache-tvm (extra 'tvm')")
        with answering(SILENT) as tracker:
            pass
        done = nasc("tune", "--tracker", str(tracker), "--key", "rpi5", "--space", "nas-bert")
        assert (done.exit_code, done.stdout) == (1, "")
        told = " ".join(done.stderr.split())
        assert f"the tracker {tracker} of TVM's RPC cannot be reached" in told
        assert "python -m tvm.exec.query_rpc_tracker --host 127.0.0.1" in told

    def test_that_has_no_such_boards(self, nasc: Callable[..., Result]) -> None:
        pytest.importorskip("tvm", reason="needs apache-tvm (extra 'tvm')")
        info = [{"key": "server:rpi4", "addr": ["10.0.0.7", 9090]}]
        with answering(framed([0, {"server_info": info, "queue_info": {}}])) as tracker:
            done = nasc("tune", "--tracker", str(tracker), "--key", "rpi5", "--space", "nas-bert")
        assert (done.exit_code, done.stdout) == (1, "")
        told = " ".join(done.stderr.split())
        assert "no board serves the key 'rpi5'" in told
        assert "keys that are served: rpi4" in told


@pytest.mark.parametrize(
    ("command", "pipeline"),
    [
        ("profile", "nasc.pipelines.profile.profile"),
        ("search --latency-ms 5", "nasc.pipelines.search.search"),
        ("compile --latency-ms 5 --output x", "nasc.pipelines.compile.compile"),
    ],
)
def test_records_are_left_out_where_that_is_asked_for(
    command: str, pipeline: str, nasc: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def called(*given: Any, **more: Any) -> None:
        settings = [one.tuned for one in given if isinstance(one, Settings)]
        asked.extend(settings or [more["tuned"]])
        raise UsageError("enough")

    monkeypatch.setattr(pipeline, called)
    for words in ("", " --no-tuned"):
        assert "enough" in nasc(*f"{command}{words}".split()).output
    assert asked == [True, False]
