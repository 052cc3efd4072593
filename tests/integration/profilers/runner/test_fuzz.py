"""Malformed lines against the native worker, built with the address and undefined sanitizers."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from raw_worker import UNLIMITED_BYTES, RawWorker, write_sum

from profilers.messages import encode_array

LINES = 3000
SEEDS = (0, 1)
TOKENS = (
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\u", b"\\ud83d", b"\\ude00", b"\\u0000"),
    *(b"null", b"true", b"false", b"NaN", b"-", b"1e", b"1e308", b"1e999", b"-0", b"0.", b"00"),
    *(b"9223372036854775807", b"9223372036854775808", b"-1", b"4294967296", b"1" * 400),
    *(b"\x00", b"\x7f", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff", b"\xe4\xb8"),
    *(b"=", b"====", b"AA==", b"A", b"/../", b"$(x)", b"[" * 200, b'{"a":' * 100, b" " * 300),
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 17, 2**31, 2**53, 2**63, -(2**63), 1e300, 0.5, "", "sum", "\0", "a\0b"),
    *([], {}, [[]], [None], ["sum", 1, 1], {"": ""}, "x" * 1000, "\U0001f600", [0] * 40),
    *([2**31 - 1] * 3, [0, 2**31 - 1], "float32", "bool", "AAAA", "AAA=", "A=A=", "===="),
)


def mutate_bytes(rng: random.Random, line: bytes, others: list[bytes]) -> bytes:
    data = bytearray(line)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        match rng.randrange(6):
            case 0 if data:
                data[at % len(data)] = rng.randrange(256)
            case 1:
                del data[at : min(end, at + 20)]
            case 2:
                data[at:at] = rng.choice(TOKENS)
            case 3:
                data = data[:at]
            case 4:
                data[at:at] = data[at:end]
            case 5:
                data[at:] = rng.choice(others)[at:]
    return bytes(data).replace(b"\n", b" ")


def mutate_value(rng: random.Random, value: Any) -> Any:
    """The same request with one value, somewhere, replaced, dropped, doubled or added."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        match rng.randrange(5):
            case 0:
                return {one: value[one] for one in value if one != key}
            case 1:
                return {**value, rng.choice(("", "x", "left", "cores")): rng.choice(VALUES)}
            case _:
                return {**value, key: mutate_value(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = rng.randrange(len(value))
        again = [value[at]] * rng.randrange(3)
        return [*value[:at], mutate_value(rng, value[at]), *again, *value[at + 1 :]]
    return rng.choice(VALUES)


def is_fair(line: bytes) -> bool:
    """Whether a line asks for nothing that would rightly end the worker, or take it for long."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return True
    if not isinstance(request, dict):
        return True
    if request.get("op") == "start":
        limits = request.get("limits")
        return isinstance(limits, dict) and limits == {"memory_bytes": UNLIMITED_BYTES}
    counts = [one for one in flat(request.get("steps")) if isinstance(one, int)]
    return request.get("op") != "quit" and max(counts, default=0) <= 50


def flat(value: Any) -> list[Any]:
    return [one for item in value for one in flat(item)] if isinstance(value, list) else [value]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_malformed_lines_are_answered(
    sanitized: Path, library: Path, tmp_path: Path, seed: int
) -> None:
    path = str(write_sum(tmp_path / "sum.onnx"))
    inputs = {
        name: encode_array(np.arange(4, dtype=np.float32).reshape(2, 2)) for name in ("left", "x")
    }
    pair = {name: encode_array(np.arange(4, dtype=np.float32)) for name in ("left", "right")}
    start = {"op": "start", "options": {"cores": None}, "limits": {"memory_bytes": UNLIMITED_BYTES}}
    requests: list[dict[str, Any]] = [
        start,
        {"op": "load", "name": "sum", "path": path, "inputs": pair},
        {"op": "load", "name": "other ü", "path": path, "inputs": inputs},
        {"op": "visit", "steps": [["sum", 1, 2], ["sum", 0, 1]]},
        {"op": "describe", "path": path},
        {"op": "open", "name": "open", "path": path},
        {"op": "run", "name": "sum", "inputs": pair},
        {"op": "run", "name": "open", "inputs": inputs},
        {"op": "memory"},
        {"op": "unload", "name": "open"},
    ]
    lines = [json.dumps(request).encode() for request in requests]
    rng = random.Random(seed)
    environment = {
        "ASAN_OPTIONS": "allocator_may_return_null=1:detect_leaks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    worker = RawWorker([str(sanitized), str(library), str(os.getpid())], environment)
    try:
        assert worker.ask(start)["ok"]
        answered = done = 0
        for i in range(LINES):
            if rng.random() < 0.5:
                line = mutate_bytes(rng, rng.choice(lines), lines)
            else:
                line = json.dumps(mutate_value(rng, rng.choice(requests))).encode()
            if not is_fair(line):
                continue
            if i % 50 == 0:  # what was dropped or put in its place is there again
                assert all(worker.ask(request)["ok"] for request in (*requests[1:2], requests[5]))
            worker.send(line)
            worker.send(b'{"op": "end of %d"}' % i)  # a blank line has no answer
            while (answer := worker.read())["ok"] or f"end of {i}'" not in answer["error"]:
                answered += 1
                done += answer["ok"]
                assert answer["ok"] or answer["kind"] in ("request", "model", "memory", "runtime")
        assert answered > LINES * 0.8
        assert done > LINES * 0.05
        assert worker.ask({"op": "quit"}) == {"ok": True}
        assert worker.process.wait(60) == 0  # the leak sanitizer says its word now
        assert worker.process.stderr is not None
        assert b"Sanitizer" not in worker.process.stderr.read()
    finally:
        worker.close()


@pytest.mark.slow
def test_the_sanitizers_are_built_in(sanitized: Path) -> None:
    content = sanitized.read_bytes()
    assert b"__asan_init" in content
    assert b"__ubsan_handle" in content
