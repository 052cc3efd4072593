"""A web server for tests of browsers: folders, byte ranges, isolation, and what a page posts."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CUT_S = 1.0
"""Before a connection ends too soon: browsers forget what they had not handed over by then."""

TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
}


@dataclass
class Served:
    """A server that runs.

    Attributes:
        url: Of its root, without a slash at the end.
        posted: What pages posted to /result.
        log: Path and Range of every request for a file.
        cut: By path, bytes after which the next answer ends.
    """

    url: str
    posted: queue.Queue[Any] = field(default_factory=queue.Queue)
    log: list[tuple[str, str | None]] = field(default_factory=list)
    cut: dict[str, int] = field(default_factory=dict)


@contextlib.contextmanager
def serve(
    folders: Mapping[str, Path], pages: Mapping[str, str], isolated: bool
) -> Iterator[Served]:
    """Serve for as long as the block lasts.

    Args:
        folders: By the first part of the path.
        pages: HTML by path.
        isolated: Whether pages are cross-origin isolated.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            name = path.strip("/").partition("/")
            if path in pages:
                self.answer(200, pages[path].encode(), ".html")
            elif name[0] in folders and (file := folders[name[0]] / name[2]).is_file():
                self.file(path, file)
            else:
                self.answer(404, b"", ".html")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            served.posted.put(json.loads(body))
            self.answer(204, b"", ".json")

        def file(self, path: str, file: Path) -> None:
            data, wanted = file.read_bytes(), self.headers["Range"]
            served.log.append((path, wanted))
            found = re.fullmatch(r"bytes=(\d+)-", wanted or "")
            start = int(found[1]) if found else 0
            more = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if found else {}
            cut = served.cut.pop(path, None)
            self.answer(206 if found else 200, data[start:], file.suffix, more, cut)

        def answer(
            self,
            status: int,
            data: bytes,
            suffix: str,
            headers: Mapping[str, str] | None = None,
            cut: int | None = None,
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", TYPES.get(suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(len(data)))
            if isolated:
                self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data if cut is None else data[:cut])
            if cut is not None:
                self.wfile.flush()
                time.sleep(CUT_S)
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Browsers that end break connections off."""

    server = Server(("127.0.0.1", 0), Handler)
    served = Served(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
