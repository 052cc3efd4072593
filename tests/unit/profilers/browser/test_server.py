"""Who is served a page, and what is taken from whom."""

from __future__ import annotations

import http.client
import socket
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from profilers.browser import server
from profilers.browser.server import PageServer
from profilers.messages import MAX_ANSWER_BYTES


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PageServer]:
    monkeypatch.setattr(server, "REQUEST_S", 0.3)
    (tmp_path / "ort.mjs").write_text("export {};")
    with PageServer({"ort.mjs": tmp_path / "ort.mjs"}) as served:
        yield served


def asked(
    page: PageServer, method: str, path: str, headers: dict[str, str] | None = None
) -> http.client.HTTPResponse:
    """The head of an answer; of a request whose body, if it has one, is never sent."""
    line = http.client.HTTPConnection(urllib.parse.urlsplit(page.url).netloc, timeout=5)
    line.putrequest(method, path)
    for key, value in (headers or {}).items():
        line.putheader(key, value)
    line.endheaders()
    return line.getresponse()


def secret(page: PageServer) -> str:
    return urllib.parse.urlsplit(page.url).path


def test_a_page_is_isolated(page: PageServer) -> None:
    for name in ("", "page.js", "thread.js", "ort/ort.mjs"):
        answer = asked(page, "GET", secret(page) + name)
        assert answer.status == 200
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/page.js", "/wrong/next", "/wr\u00f6ng/next", "//next"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_answered_without_the_secret(page: PageServer, method: str, path: str) -> None:
    answer = asked(page, method, urllib.parse.quote(path), {"Content-Length": "1000"})
    assert (answer.status, answer.headers["Connection"]) == (404, "close")
    assert page.told(0.0) is None


@pytest.mark.parametrize("length", ["-1", "x", "", str(MAX_ANSWER_BYTES + 1)])
def test_a_body_has_a_size_that_an_answer_may_have(page: PageServer, length: str) -> None:
    answer = asked(page, "POST", secret(page) + "failed", {"Content-Length": length})
    assert (answer.status, answer.headers["Connection"]) == (413, "close")
    assert page.told(0.0) is None


def test_other_pages_are_refused(page: PageServer) -> None:
    own = page.url.removesuffix(secret(page))
    for origin, status in (("http://example.com", 404), ("null", 404), (own, 200)):
        headers = {"Content-Length": "0", "Origin": origin}
        assert asked(page, "POST", secret(page) + "failed", headers).status == status
        assert asked(page, "GET", secret(page), {"Origin": origin}).status == status
    assert page.told(1.0) == ("failed", "")
    assert page.told(0.0) is None


def test_who_says_nothing_is_not_waited_for(page: PageServer) -> None:
    host = urllib.parse.urlsplit(page.url)
    assert host.hostname is not None
    for begun in (b"", b"POST /wrong/next HTTP/1.1\r\n"):
        with socket.create_connection((host.hostname, host.port), timeout=10) as line:
            line.sendall(begun)
            assert line.recv(100) == b""


def test_the_page_may_be_silent(page: PageServer) -> None:
    host = urllib.parse.urlsplit(page.url).netloc
    line = http.client.HTTPConnection(host, timeout=5)
    for _ in range(2):
        line.request("POST", secret(page) + "failed", b"why")
        assert line.getresponse().read() == b""
        assert page.told(1.0) == ("failed", "why")
        time.sleep(0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is this machine on Linux")
def test_one_address_alone_is_listened_at(page: PageServer) -> None:
    host = urllib.parse.urlsplit(page.url)
    assert host.hostname == "127.0.0.1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", host.port), timeout=5)
