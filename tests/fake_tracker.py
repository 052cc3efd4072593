"""A tracker of TVM's RPC that answers what a test says."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from profilers.devices.tvm_tracker import GREETING, TrackerAddress

SILENT = object()
"""As an answer: none comes, and the connection stays."""


def framed(value: Any) -> bytes:
    """A value as trackers send it."""
    text = json.dumps(value).encode()
    return struct.pack("<i", len(text)) + text


@contextmanager
def answering(
    answer: bytes | object, greeting: bytes = struct.pack("<i", GREETING)
) -> Iterator[TrackerAddress]:
    """A tracker that greets, and gives each who asks the same answer."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        held: list[socket.socket] = []

        def serve() -> None:
            while not done.is_set():
                try:
                    one, _ = listener.accept()
                except TimeoutError:
                    continue
                except OSError:
                    return
                one.settimeout(5)
                held.append(one)
                one.sendall(greeting)
                if answer is SILENT:
                    continue
                one.recv(1 << 16)
                assert isinstance(answer, bytes)
                one.sendall(answer)
                one.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield TrackerAddress(*listener.getsockname()[:2])
        finally:
            done.set()
            thread.join()
            for one in held:
                one.close()
