"""A visit to a board, over TVM's RPC: what it is, and how long a kernel takes there.

A session ends with the process that holds it: TVM waits for ever, so whoever calls this runs it in
a process that is ended in time (`trial_server`). What comes from a board is bounded and checked.
"""

from __future__ import annotations

import importlib.metadata
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import rpc

from profilers.context import describe_cpu
from profilers.devices.tvm_tracker import Offer

MAX_TEXT_BYTES = 1 << 14
"""Of what a board tells of itself, with its first core; that of servers takes 3,000 (2026)."""

MOST_RUNS = 1000
"""Of a kernel, as `trial_server.MOST_RUNS`."""

PACKAGES = ("apache-tvm", "apache-tvm-ffi")

_HEAD = re.compile(
    r"machine: (?P<machine>[a-z0-9_]{1,40})\n"
    r"cores: (?P<cores>[0-9]{1,5})\n"
    r"(?:ffi: (?P<ffi>[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6})\n)?"
    r"(?P<packages>(?:package: [A-Za-z0-9_.+!-]{1,100}\n){0,20})\n"
)
_PACKAGE = re.compile(r"package: (apache_tvm(?:_ffi)?)-([A-Za-z0-9_.+!]+)\.dist-info\n")


class BoardLost(Exception):
    """The board, or the way to it, gave out: another one may do what it was given."""


class BoardRefused(Exception):
    """The board is none that kernels are tuned on."""


class CandidateFailed(Exception):
    """The kernel does not load or does not run there."""


@dataclass(frozen=True, slots=True)
class Board:
    """What a board says of itself.

    Attributes:
        address: Where its server listens.
        cpu: As `profilers.context.read_context` describes a processor.
        versions: Of `PACKAGES` there, those that are known.
        ffi: Version of the library that runs code there.
    """

    address: str
    cpu: dict[str, Any]
    versions: dict[str, str]
    ffi: str | None


def opened(offer: Offer, timeout_s: float) -> rpc.RPCSession:
    """A session; the board ends it after a time.

    Raises:
        BoardLost: If it cannot be opened.
        BoardRefused: If the server there speaks another protocol.
    """
    try:
        return rpc.connect(offer.host, offer.port, offer.match_key, session_timeout=timeout_s)
    except Exception as error:  # of many kinds, by what answered
        text = _short(error)
        if "protocol" in text.lower():
            raise BoardRefused(f"{offer.address} runs another release of TVM: {text}") from error
        raise BoardLost(
            f"{offer.address} does not answer as a server of TVM's RPC: {text}"
        ) from error


def describe(session: rpc.RPCSession, offer: Offer, about: Sequence[Path]) -> Board:
    """What a board is.

    Args:
        session: With it.
        offer: That the session is of.
        about: Libraries of `src/board.c`, one for each architecture that it may have.

    Raises:
        BoardRefused: If it can load none of them, or tells what cannot be.
        BoardLost: If it gave out.
    """
    refused = "there is no code for it"
    for library in about:
        try:
            session.upload(bytearray(library.read_bytes()), target=library.name)
            function = session.load_module(library.name)["nasc_board"]
            out = tvm.runtime.empty((MAX_TEXT_BYTES,), "uint8", session.cpu())
            size = int(function(out))
            content = out.numpy().tobytes()
        except Exception as error:
            refused = _short(error)
            if _gone(session):
                raise BoardLost(f"{offer.address} gave out: {refused}") from error
            continue
        return _read(content[: max(0, size)], offer)
    raise BoardRefused(
        f"{offer.address} cannot load a library of {', '.join(p.stem for p in about)}: {refused}"
    )


def _gone(session: rpc.RPCSession) -> bool:
    """Whether a board does not answer any more."""
    try:
        session.get_function("runtime.NumThreads")
    except Exception:
        return True
    return False


def _read(content: bytes, offer: Offer) -> Board:
    text = _printable(content.decode("utf-8", errors="replace"))
    head = _HEAD.match(text)
    if head is None:
        raise BoardRefused(f"{offer.address} tells of itself what cannot be read: {text[:80]!r}")
    if len(content) >= MAX_TEXT_BYTES and "\n\n" not in text[head.end() :]:
        raise BoardRefused(f"{offer.address} tells more of a core than {MAX_TEXT_BYTES:,} bytes")
    cpu = describe_cpu(text[head.end() :], head["machine"], int(head["cores"]))
    versions = {name.replace("_", "-"): said for name, said in _PACKAGE.findall(head["packages"])}
    return Board(offer.address, cpu, versions, head["ffi"])


def check_versions(board: Board) -> None:
    """Refuse a board that runs another release of TVM than this machine.

    Raises:
        BoardRefused: If it does.
    """
    needed = {name: importlib.metadata.version(name) for name in PACKAGES}
    need = " ".join(f"{name}=={version}" for name, version in needed.items())
    ffi = re.match(r"[0-9]+\.[0-9]+\.[0-9]+", needed["apache-tvm-ffi"])
    found = board.versions or {"TVM's FFI library": board.ffi or "of an unknown release"}
    if board.versions == needed if board.versions else (ffi is not None and board.ffi == ffi[0]):
        return
    are = ", ".join(f"{name} {version}" for name, version in found.items())
    raise BoardRefused(
        f"{board.address} runs {are}, and kernels are compiled here by {need.replace('==', ' ')}: "
        f"they may not run alike. Install there, and start its server anew: python -m pip install "
        f"{need}"
    )


def seconds(
    session: rpc.RPCSession,
    library: bytes,
    arguments: Sequence[tuple[str, Sequence[int]]],
    threads: int,
    duration_s: float,
    timeout_s: float,
) -> float:
    """Of the fastest run of a kernel on a board: the statistic of trials on this machine.

    Args:
        session: With it.
        library: The kernel, linked with `src/timed.c`.
        arguments: Data type and shape of what it takes.
        threads: That it runs on.
        duration_s: It runs so long, after a run that does not count.
        timeout_s: After so long it is ended there.

    Raises:
        CandidateFailed: If it does not load or run.
        BoardLost: If the board gave out.
    """
    try:
        session.upload(bytearray(library), target="candidate.so")
        function = session.load_module("candidate.so")["nasc_timed"]
        device = session.cpu()
        times = tvm.runtime.empty((MOST_RUNS,), "float64", device)
        values = [tvm.runtime.empty(tuple(shape), dtype, device) for dtype, shape in arguments]
        found = int(function(threads, duration_s, math.ceil(timeout_s), times, *values))
        measured = times.numpy()
    except Exception as error:
        if _gone(session):
            raise BoardLost(f"the board gave out: {_short(error)}") from error
        raise CandidateFailed(_short(error)) from error
    if found <= 0:
        raise CandidateFailed(_ended(found, timeout_s))
    measured = measured[: min(found, MOST_RUNS)]
    fastest = float(measured.min())
    if not (np.isfinite(measured).all() and 0 < fastest <= timeout_s):
        raise BoardLost(f"the board tells a time that cannot be: {fastest!r} s")
    return fastest


_ALARM = 14
"""The signal of a time that is over, on Linux."""


def _ended(found: int, timeout_s: float) -> str:
    if found == -_ALARM:
        return f"no end after {timeout_s:g} s"
    if found > -1000:
        return f"ended by signal {-found}"
    return f"ended with exit code {-1000 - found} and no result"


def _short(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return _printable((lines[-1] if lines else type(error).__name__).strip()[:300])


def _printable(text: str) -> str:
    """A text of somebody else's without what a terminal would obey."""
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
