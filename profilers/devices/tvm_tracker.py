"""A tracker of TVM's RPC: which boards it has, and the next one that is free.

TVM's own client waits for ever, and reads whatever it is sent. This one speaks the same protocol
(tvm/rpc/tracker.py of apache-tvm 0.27: a number to greet, then JSON with its length in front),
with a time and a size for everything. It needs no TVM.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from device_profiles.reading import FileRefused, parse_json
from profilers.errors import DeviceUnreachable, InvalidSetting

GREETING = 0x2F271
"""What a tracker is greeted with, and answers (`RPC_TRACKER_MAGIC`)."""

REQUEST, SUMMARY, SUCCESS = 4, 6, 0
"""Of tvm.rpc.base.TrackerCode."""

TIMEOUT_S = 10.0
"""For a tracker to be reached, and to answer what it knows."""

MAX_BYTES = 1 << 20
"""Of an answer; trackers take no longer ones themselves."""

MAX_BOARDS = 1000

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9_:%][A-Za-z0-9_.:%-]{0,252}")

_ADDRESS = {
    "type": "array",
    "minItems": 2,
    "maxItems": 2,
    "prefixItems": [
        {"type": ["string", "null"], "pattern": f"^{_HOST.pattern}$"},
        {"type": "integer", "minimum": 1, "maximum": 65535},
    ],
}
_SUMMARY_SCHEMA = {
    "type": "array",
    "minItems": 2,
    "maxItems": 2,
    "prefixItems": [
        {"const": SUCCESS},
        {
            "type": "object",
            "required": ["server_info", "queue_info"],
            "properties": {
                "server_info": {
                    "type": "array",
                    "maxItems": MAX_BOARDS,
                    "items": {
                        "type": "object",
                        "required": ["key", "addr"],
                        "properties": {
                            "key": {"type": "string", "maxLength": 300},
                            "addr": _ADDRESS,
                        },
                    },
                },
                "queue_info": {"type": "object"},
            },
        },
    ],
}
_OFFER_SCHEMA = {
    "type": "array",
    "minItems": 2,
    "maxItems": 2,
    "prefixItems": [
        {"const": SUCCESS},
        {
            "type": "array",
            "minItems": 3,
            "maxItems": 3,
            "prefixItems": [
                {"type": "string", "pattern": f"^{_HOST.pattern}$"},
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": r"^[^\s]{1,300}$"},
            ],
        },
    ],
}


@dataclass(frozen=True, slots=True)
class TrackerAddress:
    """Where a tracker listens.

    Attributes:
        host: Name or number.
        port: Of TCP.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> TrackerAddress:
        """Reads HOST:PORT; a number of IPv6 stands in brackets.

        Raises:
            InvalidSetting: It is something else.
        """
        host, _, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            host = ""
        if not _HOST.fullmatch(host) or not re.fullmatch(r"[0-9]{1,5}", port):
            raise InvalidSetting(
                f"a tracker is HOST:PORT, as in --tracker 192.168.1.10:9190, got {text!r}"
            )
        if not 1 <= int(port) <= 65535:
            raise InvalidSetting(f"a port is 1 to 65535, got {port} in {text!r}")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def query(self) -> str:
        """The command that shows what the tracker knows."""
        return f"python -m tvm.exec.query_rpc_tracker --host {self.host} --port {self.port}"


def check_key(key: str) -> str:
    """A name of boards, as their servers are started with.

    Raises:
        InvalidSetting: It is none.
    """
    if not _KEY.fullmatch(key):
        raise InvalidSetting(
            "a key of boards is up to 64 letters, digits and _ . + -, as in --key rpi5, got "
            f"{key[:80]!r}"
        )
    return key


@dataclass(frozen=True, slots=True)
class Offer:
    """A board that waits for whom the tracker sends.

    Attributes:
        host: Where its server listens.
        port: Of TCP.
        match_key: What it lets in.
    """

    host: str
    port: int
    match_key: str

    @property
    def address(self) -> str:
        """As it is shown."""
        return str(TrackerAddress(self.host, self.port))


@dataclass(frozen=True, slots=True)
class BoardKey:
    """Boards of one kind.

    Attributes:
        tracker: That knows them.
        key: Which their servers were started with.
    """

    tracker: TrackerAddress
    key: str

    @property
    def start(self) -> str:
        """The command that starts a board's server."""
        return f"python -m tvm.exec.rpc_server --tracker {self.tracker} --key {self.key}"

    def served(self) -> tuple[str, ...]:
        """Addresses of the boards that serve the key, busy or not; empty where none does.

        Raises:
            DeviceUnreachable: The tracker cannot be reached, or what answers is none.
        """
        return servers(self.tracker).get(self.key, ())

    def addresses(self) -> tuple[str, ...]:
        """Addresses of the boards, busy or not.

        Raises:
            DeviceUnreachable: There are none, or the tracker cannot be reached.
        """
        found = servers(self.tracker)
        if self.key not in found:
            raise DeviceUnreachable(
                f"no board serves the key {self.key!r} at the tracker {self.tracker}; keys that "
                f"are served: {', '.join(_shown(found)) or 'none'}. See: {self.tracker.query}. "
                f"Start a server on a board: {self.start}",
                "no board serves the key",
            )
        return found[self.key]


def _shown(keys: Iterable[str]) -> list[str]:
    """Names as they may be printed: a tracker takes any."""
    return sorted(key if _KEY.fullmatch(key) else repr(key) for key in keys)


def servers(tracker: TrackerAddress, timeout_s: float = TIMEOUT_S) -> dict[str, tuple[str, ...]]:
    """Addresses of boards, busy or not, by the key that they serve.

    Raises:
        DeviceUnreachable: The tracker cannot be reached, or what answers is none.
    """
    found: dict[str, tuple[str, ...]] = {}
    for info in _asked(tracker, [SUMMARY], _SUMMARY_SCHEMA, timeout_s)[1]["server_info"]:
        kind, _, key = info["key"].partition(":")
        if kind == "server":
            host, port = info["addr"]
            found[key] = (*found.get(key, ()), str(TrackerAddress(host or "?", port)))
    return found


def request(tracker: TrackerAddress, key: str, wait_s: float) -> Offer | None:
    """The next board of a key that is free.

    Args:
        tracker: That knows them.
        key: Of the boards.
        wait_s: For one to become free.

    Returns:
        None where none is free so long.

    Raises:
        DeviceUnreachable: As `servers`.
    """
    found = _asked(tracker, [REQUEST, key, "", 1], _OFFER_SCHEMA, wait_s, may_wait=True)
    return None if found is None else Offer(*found[1])


def _asked(
    tracker: TrackerAddress,
    message: Sequence[Any],
    schema: dict[str, Any],
    timeout_s: float,
    may_wait: bool = False,
) -> Any:
    """The answer to a message; None where none comes and the tracker may wait."""
    try:
        with socket.create_connection(
            (tracker.host, tracker.port), timeout=min(TIMEOUT_S, max(timeout_s, 0.1))
        ) as connection:
            deadline = time.monotonic() + TIMEOUT_S
            connection.sendall(struct.pack("<i", GREETING))
            if _received(connection, 4, deadline) != struct.pack("<i", GREETING):
                raise FileRefused("its greeting", "is not that of one")
            text = json.dumps(message).encode()
            connection.sendall(struct.pack("<i", len(text)) + text)
            try:
                head = _received(connection, 4, time.monotonic() + timeout_s)
            except TimeoutError:
                if may_wait:
                    return None
                raise
            (size,) = struct.unpack("<i", head)
            if not 0 < size <= MAX_BYTES:
                raise FileRefused("its answer", f"is of {size:,} bytes")
            content = _received(connection, size, time.monotonic() + TIMEOUT_S)
            return parse_json(content, "its answer", schema)
    except FileRefused as error:
        raise DeviceUnreachable(
            f"what answers at {tracker} is no tracker of TVM's RPC: {error}. Start one: python -m "
            f"tvm.exec.rpc_tracker --host 0.0.0.0 --port {tracker.port}",
            "no tracker of TVM's RPC",
        ) from error
    except OSError as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error)
        raise DeviceUnreachable(
            f"the tracker {tracker} of TVM's RPC cannot be reached: {reason} (tried for "
            f"{TIMEOUT_S:g} s at most). See whether it answers: {tracker.query}. Start one there: "
            f"python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port {tracker.port}",
            "the tracker cannot be reached",
        ) from error


def _received(connection: socket.socket, size: int, deadline: float) -> bytes:
    """So many bytes.

    Raises:
        TimeoutError: They do not come in time.
        ConnectionError: The connection ends before.
    """
    parts: list[bytes] = []
    while size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(min(size, 1 << 16))
        if not part:
            raise ConnectionError("the connection was closed")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
