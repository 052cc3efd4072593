"""Options about traffic on the command line: what goes with what, and the messages."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import Result


def refused(result: Result, message: str, code: int = 2) -> None:
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize("command", ["compile", "search"])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (["--seq-len", "128"], "gives a mixture of lengths, --seq-len 128 one: give one of them"),
        (["--fixed-shape"], "--fixed-shape is for one length, --lengths h.csv gives a mixture"),
        (["--batch", "4"], "a batch is padded to its longest: leave --batch 4 out"),
    ],
)
def test_a_mixture_goes_with_no_single_shape(
    command: str, other: list[str], message: str, nasc: Callable[..., Result]
) -> None:
    refused(nasc(command, "--latency-ms", "5", "--lengths", "h.csv", *other), message)


def test_nor_do_tables(nasc: Callable[..., Result]) -> None:
    message = "leave --seq-len, --fixed-shape and --batch out"
    refused(nasc("profile", "--lengths", "h.csv", "--seq-len", "32"), message)


def test_nor_does_a_quantile(nasc: Callable[..., Result]) -> None:
    message = "--quantile p90 the runs of one length: give one of them"
    refused(nasc("compile", "--latency-ms", "5", "--lengths", "h", "--quantile", "p90"), message)


PROTOCOL = ("--protocol", "mlperf-single-stream")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--params", "5M", *PROTOCOL], "--protocol says what --latency-ms is held to"),
        (
            ["--latency-ms", "5", *PROTOCOL, "--quantile", "p99"],
            "--protocol mlperf-single-stream is about p90, not p99: leave --quantile p99 out",
        ),
        (
            ["--latency-ms", "5", "--min-duration", "60"],
            "--min-duration goes with --protocol mlperf-single-stream: give that too",
        ),
        (
            ["--latency-ms", "5", *PROTOCOL, "--lengths", "h.csv"],
            "--protocol mlperf-single-stream the runs of one length: give one of them",
        ),
    ],
)
def test_what_single_stream_goes_with(
    options: list[str], message: str, nasc: Callable[..., Result]
) -> None:
    refused(nasc("compile", *options), message)


def test_a_duration_alone_says_nothing_to_bench_either(nasc: Callable[..., Result]) -> None:
    refused(nasc("bench", "model.onnx", "--min-duration", "60"), "--min-duration goes with")
    refused(nasc("bench", "model.onnx", "--min-duration", "0"), "0.0 is not in the range")
