"""An adb daemon for tests, over TCP: what the real `adb` client needs of a phone.

Its services are shell (version 2 and the one before), exec and sync (STAT, SEND, RECV, LIST). The
phone's files lie in a folder of this machine: `/data` of the phone is `data` in it, also in the
text of commands, which this machine's shell runs. Written from adb's own description of its
protocol (Debian's adb: OVERVIEW.TXT, SERVICES.TXT, SYNC.TXT).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import signal
import struct
import tempfile
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSION, MAX_DATA = 0x01000000, 1 << 20
CNXN, AUTH, OPEN, OKAY, CLSE, WRTE = (
    int.from_bytes(name, "little")
    for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
AUTH_TOKEN = 1
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
WRITABLE = "/data/local/tmp"
_DATA = re.compile(r"(?<![\w.-])/(?=data/|sys/|proc/)")


@dataclass
class Phone:
    """What the daemon shows of a phone; it may be changed while the daemon runs.

    Attributes:
        root: Holds its files.
        properties: What getprop tells, by name.
        features: Of the daemon, as adb names them.
        environment: Variables of what it runs.
        asks: Whether a computer is unknown to it: it asks its user, who does not answer.
        answers: Whether it answers at all.
        free_bytes: What may still be written; None is without end.
        sent: Paths that were written, in their order.
    """

    root: Path
    properties: Mapping[str, str]
    features: tuple[str, ...] = ("shell_v2", "cmd")
    environment: Mapping[str, str] = field(default_factory=dict)
    asks: bool = False
    answers: bool = True
    free_bytes: int | None = None
    sent: list[str] = field(default_factory=list)

    def here(self, path: str) -> Path:
        """Where a path of the phone lies."""
        return self.root / os.path.normpath(f"/{path.lstrip('/')}").lstrip("/")

    @property
    def banner(self) -> bytes:
        """What it says of itself when a computer connects."""
        names = ("ro.product.name", "ro.product.model", "ro.product.device")
        told = [f"{name}={self.properties.get(name, '')}" for name in names]
        return "device::{};features={}".format(";".join(told), ",".join(self.features)).encode()

    def words(self, command: str) -> list[str]:
        """What runs a command of its shell: paths of the phone are found in its folder."""
        return ["/bin/sh", "-c", _DATA.sub(f"{self.root}/", command)]


class _Stream:
    """One service that a client has opened."""

    def __init__(self, link: _Link, own: int, theirs: int) -> None:
        self._link = link
        self.own, self.theirs = own, theirs
        self.inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.taken = asyncio.Event()
        self._rest = b""

    async def some(self) -> bytes:
        """What has come; nothing at the end."""
        if not self._rest:
            chunk = await self.inbox.get()
            if chunk is None:
                self.inbox.put_nowait(None)
                return b""
            return chunk
        found, self._rest = self._rest, b""
        return found

    async def exactly(self, size: int) -> bytes:
        """So many bytes; fewer at the end."""
        found = b""
        while len(found) < size:
            chunk = await self.some()
            if not chunk:
                break
            found += chunk
        self._rest = found[size:] + self._rest
        return found[:size]

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), self._link.most):
            self.taken.clear()
            part = data[at : at + self._link.most]
            await self._link.send(WRTE, self.own, self.theirs, part)
            await self.taken.wait()


class _Link:
    """The connection of one computer."""

    def __init__(
        self, phone: Phone, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._phone, self._reader, self._writer = phone, reader, writer
        self._streams: dict[int, _Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._next = 1
        self.most = 4096

    async def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        head = (command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        self._writer.write(struct.pack("<6I", *head) + data)
        await self._writer.drain()

    async def run(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await self._reader.readexactly(24)
                command, first, second, size, _, _ = struct.unpack("<6I", head)
                await self._take(command, first, second, await self._reader.readexactly(size))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._writer.transport.abort()

    async def _take(self, command: int, first: int, second: int, data: bytes) -> None:
        if not self._phone.answers:
            return
        if command in (CNXN, AUTH) and self._phone.asks:
            await self.send(AUTH, AUTH_TOKEN, 0, bytes(20))
        elif command == CNXN:
            self.most = min(second, MAX_DATA)
            await self.send(CNXN, VERSION, MAX_DATA, self._phone.banner)
        elif command == OPEN:
            stream = _Stream(self, self._next, first)
            self._next += 1
            self._streams[stream.own] = stream
            task = asyncio.create_task(self._serve(stream, data.rstrip(b"\0").decode()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif (stream_of := self._streams.get(second)) is not None:
            if command == OKAY:
                stream_of.taken.set()
            elif command == WRTE:
                stream_of.inbox.put_nowait(data)
                await self.send(OKAY, stream_of.own, stream_of.theirs)
            elif command == CLSE:
                stream_of.inbox.put_nowait(None)
                stream_of.taken.set()
                del self._streams[second]

    async def _serve(self, stream: _Stream, service: str) -> None:
        kind, _, argument = service.partition(":")
        name, *options = kind.split(",")
        with contextlib.suppress(OSError):
            if name in ("shell", "exec") and argument:
                await self.send(OKAY, stream.own, stream.theirs)
                await _shell(self._phone, stream, argument, "v2" in options)
            elif name == "sync":
                await self.send(OKAY, stream.own, stream.theirs)
                await _sync(self._phone, stream)
        still = self._streams.pop(stream.own, None) is not None
        with contextlib.suppress(ConnectionError):
            await self.send(CLSE, stream.own if still else 0, stream.theirs)


async def _shell(phone: Phone, stream: _Stream, command: str, v2: bool) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *phone.words(command),
        stdin=pipe,
        stdout=pipe,
        stderr=pipe if v2 else asyncio.subprocess.STDOUT,
        env={"PATH": f"{phone.root}/system/bin:/usr/bin:/bin", **phone.environment},
        cwd=phone.root,
        start_new_session=True,
    )
    assert process.stdin is not None
    own, turn = process.stdin, asyncio.Lock()

    def leave() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGHUP)

    async def out(reader: asyncio.StreamReader | None, number: int) -> None:
        while reader is not None and (data := await reader.read(32768)):
            async with turn:
                head = struct.pack("<BI", number, len(data)) if v2 else b""
                await stream.write(head + data)

    async def into() -> None:
        with contextlib.suppress(ConnectionError):
            while head := await (stream.exactly(5) if v2 else stream.some()):
                if not v2:
                    own.write(head)
                elif len(head) == 5:
                    number, size = struct.unpack("<BI", head)
                    data = await stream.exactly(size)
                    if number == STDIN:
                        own.write(data)
                    elif number == CLOSE_STDIN:
                        own.close()
                await own.drain()
            own.close()
            leave()  # the computer is gone

    taking = asyncio.create_task(into())
    try:
        await asyncio.gather(out(process.stdout, STDOUT), out(process.stderr, STDERR))
        status = await process.wait()
        if v2:
            status = 128 - status if status < 0 else status
            await stream.write(struct.pack("<BIB", EXIT, 1, status & 255))
    except asyncio.CancelledError:
        own.close()
        leave()
        raise
    finally:
        taking.cancel()


async def _sync(phone: Phone, stream: _Stream) -> None:
    while len(head := await stream.exactly(8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"QUIT":
            return
        path = (await stream.exactly(size)).decode()
        if name == b"STAT":
            await stream.write(_stat(phone.here(path)))
        elif name == b"LIST":
            await stream.write(_list(phone.here(path)))
        elif name == b"RECV":
            await _receive(phone.here(path), stream)
        elif name == b"SEND":
            await _take_file(phone, path.rpartition(",")[0], path.rpartition(",")[2], stream)
        else:
            await _fail(stream, "unknown request")
            return


async def _fail(stream: _Stream, reason: str) -> None:
    await stream.write(b"FAIL" + struct.pack("<I", len(reason.encode())) + reason.encode())


def _stat(path: Path) -> bytes:
    try:
        found = path.lstat()
    except OSError:
        return struct.pack("<4s3I", b"STAT", 0, 0, 0)
    size, changed = found.st_size & 0xFFFFFFFF, int(found.st_mtime)
    return struct.pack("<4s3I", b"STAT", found.st_mode, size, changed)


def _list(path: Path) -> bytes:
    listed = b""
    with contextlib.suppress(OSError):
        for entry in path.iterdir():
            listed += b"DENT" + _stat(entry)[4:]
            listed += struct.pack("<I", len(entry.name.encode())) + entry.name.encode()
    return listed + b"DONE" + bytes(16)


async def _receive(path: Path, stream: _Stream) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        await _fail(stream, f"open failed: {error.strerror}")
        return
    for at in range(0, len(content), 65536):
        part = content[at : at + 65536]
        await stream.write(b"DATA" + struct.pack("<I", len(part)) + part)
    await stream.write(b"DONE" + bytes(4))


async def _take_file(phone: Phone, path: str, mode: str, stream: _Stream) -> None:
    """A file that is sent; what is wrong with it is told at its end."""
    wrong: str | None = None
    place, temporary = phone.here(path), None
    if phone.here(WRITABLE) not in place.parents:
        wrong = "couldn't create file: Permission denied"
    else:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary = tempfile.NamedTemporaryFile(dir=place.parent, delete=False)  # noqa: SIM115
        except OSError as error:
            wrong = f"couldn't create file: {error.strerror}"
    changed = 0
    while True:
        name, size = struct.unpack("<4sI", await stream.exactly(8))
        if name == b"DONE":
            changed = size
            break
        data = await stream.exactly(size)
        if phone.free_bytes is not None and len(data) > phone.free_bytes:
            wrong = f"couldn't write: {os.strerror(errno.ENOSPC)}"
        elif phone.free_bytes is not None:
            phone.free_bytes -= len(data)
        if temporary is not None and wrong is None:
            temporary.write(data)
    if temporary is not None:
        temporary.close()
        if wrong is None:
            os.chmod(temporary.name, int(mode) & 0o777)
            os.utime(temporary.name, (changed, changed))
            os.replace(temporary.name, place)
        else:
            os.unlink(temporary.name)
    if wrong is not None:
        await _fail(stream, wrong)
        return
    phone.sent.append(path)
    await stream.write(b"OKAY" + bytes(4))


class Adbd:
    """A phone that computers can connect to, served by a thread of its own."""

    def __init__(self, phone: Phone, port: int = 0) -> None:
        self.phone = phone
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._connected, "127.0.0.1", port))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def address(self) -> str:
        """What `adb connect` takes; the phone's serial then."""
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        """Takes the phone away, as when its cable is pulled."""
        if self._thread.is_alive():
            self._do(self._leave())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(60)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self.phone, reader, writer)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)
            link.close()

    async def _leave(self) -> None:
        self._server.close()
        for link in list(self._links):
            link.close()
        await asyncio.sleep(0.05)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
