"""What a page is served: its own files, onnxruntime-web, models, and one request after the other.

The server is reached from this machine alone, below a path that is drawn for each server. The
browser gets it in a file that other users cannot read. What is asked without it is not answered.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from profilers.messages import MAX_ANSWER_BYTES

SHUTDOWN_S = 0.1
"""How long a server may take to end."""

REQUEST_S = 60.0
"""A connection that has not asked for anything of the page's is closed after so long a silence
(chosen, 2026)."""

PAGE = Path(__file__).resolve().parent / "page"

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
}

ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}
"""A page that is isolated has a clock of 5 microseconds, and threads."""


class PageServer:
    """Serves one page for as long as the context lasts, and speaks to it.

    Attributes:
        url: Of the page.
    """

    def __init__(self, library: Mapping[str, Path]) -> None:
        """Nothing is served yet.

        Args:
            library: Files of onnxruntime-web, by name.

        Raises:
            OSError: No port can be had.
        """
        self._files = {
            "": PAGE / "index.html",
            **{path.name: path for path in PAGE.iterdir() if path.suffix == ".js"},
            **{f"ort/{name}": path for name, path in library.items()},
        }
        self._secret = secrets.token_urlsafe(16)
        self._requests: queue.Queue[str] = queue.Queue()
        self._told: queue.Queue[tuple[str, str]] = queue.Queue()
        self._places: dict[Path, str] = {}
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{self._origin}/{self._secret}/"
        serve = functools.partial(self._server.serve_forever, poll_interval=SHUTDOWN_S)
        self._thread = threading.Thread(target=serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def place(self, path: Path) -> str:
        """Serves a file; returns its name there, below the page's own folder."""
        if path not in self._places:
            name = f"file/{len(self._places)}"
            self._places[path] = name
            self._files[name] = path
        return self._places[path]

    def ask(self, request: str) -> None:
        """Gives the page its next request."""
        self._requests.put(request)

    def told(self, timeout_s: float) -> tuple[str, str] | None:
        """What the page tells next.

        Args:
            timeout_s: Seconds to wait for it.

        Returns:
            What it is about and the text: "next" (it is ready for a request; the text answers the
            one before), "late" (a run or a load takes too long; which limit), "failed" (why it
            cannot work) or "gone" (it was closed, or crashed); None where it tells nothing.
        """
        with contextlib.suppress(queue.Empty):
            return self._told.get(timeout=timeout_s)
        return None

    def _handler(self) -> Callable[..., BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = REQUEST_S

            def do_GET(self) -> None:
                name = self._name()
                path = None if name is None else server._files.get(name)
                try:
                    file = None if path is None else path.open("rb")
                except OSError:
                    file = None
                if path is None or file is None:
                    self._refuse(404)
                    return
                with file:
                    kind = _TYPES.get(path.suffix, "application/octet-stream")
                    size = file.seek(0, 2)
                    file.seek(0)
                    self._head(200, {"Content-Type": kind, "Content-Length": str(size)})
                    shutil.copyfileobj(file, self.wfile, 1 << 20)

            def do_POST(self) -> None:
                name = self._name()
                if name not in ("alive", "next", "late", "failed"):
                    self._refuse(404)
                    return
                length = self.headers.get("Content-Length", "")
                if not length.isdecimal() or int(length) > MAX_ANSWER_BYTES:
                    self._refuse(413)
                    return
                body = self.rfile.read(int(length)).decode()
                if name == "alive":
                    self.connection.recv(1)  # nothing comes but its end
                    server._told.put(("gone", ""))
                    self.close_connection = True
                    return
                server._told.put((name, body))
                self._answer(200, server._requests.get() if name == "next" else "")

            def _name(self) -> str | None:
                """What is asked for; None where it is not asked by the page."""
                if self.headers.get("Origin", server._origin) != server._origin:
                    return None
                secret, _, name = self.path.removeprefix("/").partition("/")
                if not secrets.compare_digest(secret.encode(), server._secret.encode()):
                    return None
                self.connection.settimeout(None)  # the page may think for as long as it likes
                return name

            def _refuse(self, status: int) -> None:
                """Answers, and reads nothing more of what is asked."""
                self.close_connection = True
                self._answer(status, headers={"Connection": "close"})

            def _answer(
                self, status: int, text: str = "", headers: Mapping[str, str] | None = None
            ) -> None:
                data = text.encode()
                self._head(status, {"Content-Length": str(len(data)), **(headers or {})})
                self.wfile.write(data)

            def _head(self, status: int, headers: Mapping[str, str]) -> None:
                self.send_response(status)
                for key, value in {**ISOLATED, "Cache-Control": "no-store", **headers}.items():
                    self.send_header(key, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers that end break connections off."""
