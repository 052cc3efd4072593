"""A tracker of TVM's RPC as it is asked: what it answers, and what is no answer."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from fake_tracker import SILENT, answering, framed

from profilers.devices import tvm_tracker
from profilers.devices.tvm_tracker import BoardKey, Offer, TrackerAddress, check_key, request
from profilers.errors import DeviceUnreachable, InvalidSetting


def summary(*servers: tuple[str, str | None, Any]) -> bytes:
    info = [{"key": f"server:{key}", "addr": [host, port]} for key, host, port in servers]
    return framed([0, {"server_info": info, "queue_info": {}}])


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("board-farm.local:9190", "board-farm.local", 9190),
        ("192.168.1.10:1", "192.168.1.10", 1),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
    ],
)
def test_an_address_is_read_and_shown(text: str, host: str, port: int) -> None:
    found = TrackerAddress.parse(text)
    assert (found.host, found.port, str(found)) == (host, port, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9190",
        ":9190",
        "host",
        "host:",
        "host:0",
        "host:65536",
        "host:1x",
        "a:b:1",
        "-x:1",
        "a b:1",
    ],
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match=r"HOST:PORT|1 to 65535"):
        TrackerAddress.parse(text)


@pytest.mark.parametrize("key", ["", "a b", "a:b", "-a", "a" * 65, "a/b", "a\n"])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(InvalidSetting, match="a key of boards is up to 64 letters"):
        check_key(key)


def test_boards_of_a_key_are_found_busy_or_not() -> None:
    told = summary(("rpi5", "10.0.0.7", 9090), ("other", "10.0.0.8", 9090), ("rpi5", None, 9091))
    with answering(told) as tracker:
        assert BoardKey(tracker, "rpi5").addresses() == ("10.0.0.7:9090", "?:9091")
        assert BoardKey(tracker, "rpi4").served() == ()
        with pytest.raises(DeviceUnreachable) as refused:
            BoardKey(tracker, "rpi4").addresses()
    for part in (
        f"no board serves the key 'rpi4' at the tracker {tracker}; keys that are served: other, ",
        f"python -m tvm.exec.query_rpc_tracker --host 127.0.0.1 --port {tracker.port}",
        f"python -m tvm.exec.rpc_server --tracker {tracker} --key rpi4",
    ):
        assert part in str(refused.value)


def test_the_next_free_board_is_offered() -> None:
    with answering(framed([0, ["10.0.0.7", 9090, "rpi5:0.25"]])) as tracker:
        assert request(tracker, "rpi5", 5) == Offer("10.0.0.7", 9090, "rpi5:0.25")


def test_where_none_is_free_in_time_none_is_offered() -> None:
    with answering(SILENT) as tracker:
        assert request(tracker, "rpi5", 0.1) is None


@pytest.mark.parametrize(
    "offer",
    [
        ["10.0.0.7", 0, "k"],
        ["10.0.0.7", 9090.5, "k"],
        ["-oProxy", 9090, "k"],
        ["10.0.0.7", 9090, "k -timeout=0"],
        ["10.0.0.7", 9090, "k" * 301],
        ["10.0.0.7", 9090],
        None,
    ],
)
def test_an_offer_that_cannot_be_is_refused(offer: Any) -> None:
    with (
        answering(framed([0, offer])) as tracker,
        pytest.raises(DeviceUnreachable, match="is no tracker of TVM's RPC: 'its answer'"),
    ):
        request(tracker, "rpi5", 5)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "the connection was closed"),
        (struct.pack("<i", 100) + b"[0, ", "the connection was closed"),
        (struct.pack("<i", -1), "'its answer' is of -1 bytes"),
        (struct.pack("<i", 2**31 - 1), "'its answer' is of 2,147,483,647 bytes"),
        (struct.pack("<i", 3) + b"[0,", "'its answer'"),
        (struct.pack("<i", 2) + b"\xff\xff", "'its answer'"),
        (framed([-1, {}]), "'its answer'"),
        (framed([0, {"server_info": [{"key": 1, "addr": []}], "queue_info": {}}]), "'its answer'"),
        (summary(("rpi5", "10.0.0.7", "9090")), "'its answer'"),
        (framed([0, {"server_info": [None] * 2000, "queue_info": {}}]), "'its answer'"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(answer: bytes, message: str) -> None:
    with answering(answer) as tracker, pytest.raises(DeviceUnreachable, match=message):
        BoardKey(tracker, "rpi5").served()


def test_something_else_that_answers_is_no_tracker() -> None:
    with (
        answering(SILENT, greeting=b"HTTP/1.1 400") as tracker,
        pytest.raises(DeviceUnreachable, match=r"is no tracker of TVM's RPC.*Start one: python"),
    ):
        BoardKey(tracker, "rpi5").served()


def test_a_tracker_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tvm_tracker, "TIMEOUT_S", 0.2)
    with answering(SILENT) as tracker, pytest.raises(DeviceUnreachable, match="no answer in time"):
        tvm_tracker.servers(tracker, 0.1)
    with (
        answering(SILENT, greeting=b"") as tracker,
        pytest.raises(DeviceUnreachable, match="no answer in time"),
    ):
        request(tracker, "rpi5", 0.1)


def test_a_tracker_that_is_not_there_is_one_message() -> None:
    with answering(SILENT) as tracker:
        pass
    with pytest.raises(DeviceUnreachable) as refused:
        BoardKey(tracker, "rpi5").served()
    for part in (
        f"the tracker {tracker} of TVM's RPC cannot be reached",
        "Connection refused",
        f"python -m tvm.exec.query_rpc_tracker --host 127.0.0.1 --port {tracker.port}",
        f"python -m tvm.exec.rpc_tracker --host 0.0.0.0 --port {tracker.port}",
    ):
        assert part in str(refused.value)
