"""Finding and validating device files."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_profiles import (
    Accelerator,
    Cluster,
    Connection,
    DeviceProfileError,
    Peak,
    available,
    find,
    find_all,
    user_folder,
)

GOOD = """
name = "board"
description = "a board"
connection.kind = "local"
[[clusters]]
core = "Cortex-A76"
count = 4
[defaults]
threads = 2
runtime = "onnxruntime"
cores = [0, 1]
"""


PEAK = """[[peaks]]
core = "Little"
clock_mhz = 2000
fp32_macs_per_cycle = 16
source = "its maker"
date = 2026-11-29"""
OWN_PEAK = PEAK.replace("Little", "Cortex-A76")
KIND = 'connection.kind = "local"'
SSH = 'connection.kind = "ssh"'
COMMAND = 'connection.kind = "command"\nconnection.command'


SHIPPED = ["chromium", "cuda", "host", "jetson-orin-nano", "pixel6", "raspberrypi5"]


def test_shipped_devices() -> None:
    assert [profile.name for profile in available(Path("none"))] == SHIPPED
    for profile in available(Path("none")):
        assert all(spec.source.startswith("https://") and spec.date for spec in profile.specs)
    host, pixel6 = find("host"), find("pixel6")
    assert (host.connection, host.detect) == (Connection("local"), True)
    assert host.default_threads == 1
    assert pixel6.clusters == (
        Cluster("Cortex-X1", 2, (6, 7)),
        Cluster("Cortex-A76", 2, (4, 5)),
        Cluster("Cortex-A55", 4, (0, 1, 2, 3)),
    )
    assert pixel6.connection == Connection("adb", product="oriole")
    assert not pixel6.emulated
    assert all(spec.source.startswith("https://") and spec.date for spec in pixel6.specs)
    [peak] = pixel6.peaks
    assert (peak.core, peak.clock_mhz) == ("Cortex-X1", 2802)
    assert (peak.fp32_macs_per_cycle, peak.int8_macs_per_cycle) == (16, 64)
    assert peak.source.count("https://") == 2


def test_what_cores_compute_at_most_may_be_stated(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD.replace("[defaults]", f"{OWN_PEAK}\n[defaults]"))
    expected = Peak("Cortex-A76", 2000, 16, None, "its maker", "2026-11-29")
    assert find(path).peaks == (expected,)
    assert find("host").peaks == ()


def test_a_user_adds_and_hides_devices(tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(GOOD)
    (tmp_path / "host.toml").write_text(GOOD.replace('"board"', '"host"'))
    assert [profile.name for profile in available(tmp_path)] == [
        "board",
        *SHIPPED,
    ]
    board = find("board", tmp_path)
    assert (board.default_threads, board.default_cores) == (2, (0, 1))
    assert find("host", tmp_path).description == "a board"
    assert find(tmp_path / "board.toml") == find(str(tmp_path / "board.toml")) == board


def test_the_user_folder_may_be_missing(tmp_path: Path) -> None:
    assert [profile.name for profile in available(tmp_path / "none")] == SHIPPED
    assert user_folder().parts[-2:] == ("nasc", "devices")


def test_unknown_devices_get_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(
        DeviceProfileError, match=r"unknown device 'pixle6'. Did you mean 'pixel6'\? Known .*host"
    ):
        find("pixle6", tmp_path)
    with pytest.raises(
        DeviceProfileError, match=r"unknown device 'zzz'\. Known devices: chromium, cuda, host"
    ):
        find("zzz", tmp_path)
    with pytest.raises(DeviceProfileError, match=r"cannot read the device file .*No such file"):
        find("no/such.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (KIND, 'connection.kind = "pigeon"', "connection.kind = 'pigeon'; it must be one of"),
        (KIND, 'transport = "pigeon"', "transport = 'pigeon'; it must be one of"),
        (KIND, f'{KIND}\ntransport = "adb"', r"transport = 'adb'; it must be left out beside"),
        (KIND, "", r"lacks 'connection'; it must be a \[connection\] table"),
        (KIND, 'connection = "local"', r"connection = 'local'; it must be a \[connection\] table"),
        (KIND, 'connection.king = "local"', "unknown field 'connection.king'. Did you mean 'kind'"),
        (KIND, 'connection.kind = "command"', "lacks 'connection.command'; it must be a program"),
        (KIND, f"{COMMAND} = []", r"command = \[\]; it must be a program and its arguments"),
        (KIND, f'{COMMAND} = "sh -c x"', "command = 'sh -c x'; it must be a program and"),
        (KIND, f'{COMMAND} = ["sh", 1]', "it must be a program and its arguments, as a list"),
        (KIND, f'{KIND}\nconnection.command = ["sh"]', 'it must be of kind "command" alone'),
        (KIND, f'{KIND}\nconnection.host = "pi"', "host = 'pi'; it must be of kind \"ssh\" alone"),
        (KIND, f'{KIND}\nconnection.product = "oriole"', 'it must be of kind "adb" alone'),
        (KIND, f'{KIND}\nconnection.serial = "1A2B"', 'it must be of kind "adb" alone'),
        (KIND, 'connection.kind = "adb"\nconnection.product = ""', "product = ''; it must be a"),
        (KIND, 'connection.kind = "adb"\nconnection.serial = "a\\nb"', "it must be a text of one"),
        (KIND, f'{KIND}\nconnection.program = "x"', 'it must be of kind "browser" alone'),
        (KIND, 'connection.kind = "browser"\nconnection.program = 1', "it must be a text of one"),
        (KIND, f"emulated = 1\n{KIND}", "emulated = 1; it must be true or false"),
        (KIND, f'{SSH}\nconnection.host = "-oProxyCommand=x"', "what `ssh` is given: USER@HOST"),
        (KIND, f'{SSH}\nconnection.host = "pi; x"', "host = 'pi; x'; it must be what `ssh`"),
        (KIND, f'{SSH}\nconnection.host = "$(x)"', "it must be what `ssh` is given"),
        (KIND, f'{SSH}\nconnection.host = "pi"\nconnection.python = "~/p"', "begins at home"),
        (KIND, f'{SSH}\nconnection.host = "pi"\nconnection.folder = "~/x"', "begins at home"),
        (KIND, f"{SSH}\nconnection = {{ port = 0 }}", "is not valid TOML"),
        (
            KIND,
            f'{SSH}\nconnection.host = "pi"\nconnection.port = 0',
            "port = 0; it must be a whole",
        ),
        (
            KIND,
            f'{SSH}\nconnection.host = "pi"\nconnection.python = ""',
            "python = ''; it must be a",
        ),
        (
            KIND,
            f'{SSH}\nconnection.host = "pi"\nconnection.folder = \'a"b\'',
            "it must be a path without quotes and backslashes",
        ),
        (
            KIND,
            f'{KIND}\nconnection.worker = "c"',
            "worker = 'c'; it must be one of python, native",
        ),
        (KIND, f"{KIND}\nconnection.worker = [1]", r"worker = \[1\]; it must be one of python"),
        (
            KIND,
            'connection.kind = "adb"\nconnection.worker = "native"',
            'connection.worker = \'native\'; it must be of kind "local" or "ssh" alone',
        ),
        (
            KIND,
            f'{COMMAND} = ["sh"]\nconnection.worker = "python"',
            'connection.worker = \'python\'; it must be of kind "local" or "ssh" alone',
        ),
        (KIND, f'{KIND}\nconnection.workers = "native"', "Did you mean 'worker'"),
        (
            KIND,
            f'{KIND}\naccelerator.kind = "npu"',
            "accelerator.kind = 'npu'; it must be one of cpu, cuda",
        ),
        (KIND, f"{KIND}\naccelerator.kind = [1]", r"accelerator.kind = \[1\]; it must be one of"),
        (KIND, f'{KIND}\naccelerator.name = ""', "accelerator.name = ''; it must be a text of one"),
        (KIND, f'{KIND}\naccelerator.kin = "cpu"', "'accelerator.kin'. Did you mean 'kind'"),
        (KIND, f'{KIND}\naccelerator = "cuda"', r"it must be an \[accelerator\] table"),
        ('name = "board"', 'name = "bored"', "name = 'bored'; it must be the file's own name"),
        ("threads = 2", "threads = 0", "defaults.threads = 0; it must be a whole number"),
        ("threads = 2", "thread = 2", "unknown field 'defaults.thread'. Did you mean 'threads'"),
        ("threads = 2", f"{'t' * 60_000} = 2", r"unknown field 'defaults\.t+\.\.\.\. Allowed"),
        ("count = 4", "count = true", "clusters.count = True"),
        ("count = 4", "count = 4\nids = [0, 1]", "4 different numbers"),
        ("cores = [0, 1]", "cores = [0, 0]", "without repetitions"),
        ("cores = [0, 1]", "cores = [-1]", "each 0 or above"),
        ("[[clusters]]", "[clusters]", r"it must be \[\[clusters\]\] tables"),
        ('core = "Cortex-A76"', "core = ", "is not valid TOML"),
        ("[defaults]", '[[specs]]\nname="x"\nvalue=1\n[defaults]', "lacks 'specs.date'"),
        (
            "[defaults]",
            '[[specs]]\nname="x"\nvalue=1\ndate=2026-01-01\n[defaults]',
            "lacks 'specs.source'",
        ),
        ("[defaults]", f"{PEAK}\n[defaults]", "peaks.core = 'Little'; it must be one of Cortex"),
        ("[defaults]", f"{OWN_PEAK}\n{OWN_PEAK}\n[defaults]", "another core in each"),
        ("[defaults]", f"{OWN_PEAK.replace('2000', '0')}\n[defaults]", "peaks.clock_mhz = 0"),
        ("[defaults]", f"{OWN_PEAK.replace('16', 'true')}\n[defaults]", "a whole number from 1"),
        ("[defaults]", f"{OWN_PEAK.replace('clock', 'klock')}\n[defaults]", "Did you mean 'clock"),
        ("[defaults]", '[[peaks]]\ncore="Cortex-A76"\n[defaults]', "lacks 'peaks.clock_mhz'"),
    ],
)
def test_wrong_files_are_one_message(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(DeviceProfileError, match=message):
        find(path)


def test_a_device_is_reached_by_a_command(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD.replace(KIND, f'{COMMAND} = ["ssh", "board", "run it"]'))
    assert find(path).connection == Connection("command", ("ssh", "board", "run it"))


def test_a_device_is_a_browser(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD.replace(KIND, 'connection.kind = "browser"'))
    assert find(path).connection == find("chromium").connection == Connection("browser")
    named = 'connection.kind = "browser"\nconnection.program = "my-chrome"'
    path.write_text(GOOD.replace(KIND, named))
    assert find(path).connection == Connection("browser", program="my-chrome")


def test_a_device_is_reached_by_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD.replace(KIND, f'{SSH}\nconnection.host = "me@pi.local"'))
    assert find(path).connection == Connection("ssh", host="me@pi.local")
    more = f'{SSH}\nconnection.host = "pi"\nconnection.port = 2222\nconnection.folder = "/x y"'
    path.write_text(GOOD.replace(KIND, more))
    assert find(path).connection == Connection("ssh", host="pi", port=2222, folder="/x y")

    config = tmp_path / "ssh" / "config"
    config.parent.mkdir()
    monkeypatch.setattr("device_profiles._SSH_CONFIG", config)
    with pytest.raises(DeviceProfileError, match=r"unknown device 'pi'\. .*--device USER@HOST"):
        find("pi", tmp_path)
    config.write_text(
        "Host = pi other\n  HostName 10.0.0.2\nInclude more/* ~nobody-of-that-name/x\n"
        "Host *.lan !x\n"
    )
    (config.parent / "more").mkdir()
    (config.parent / "more" / "a").write_text('host "jetson" # mine\nInclude config\n')
    for name in ("pi", "other", "jetson", "me@pi"):
        device = find(name, tmp_path)
        assert (device.name, device.connection) == (name, Connection("ssh", host=name))
        assert device.detect
    for name in ("x", "*.lan", "-pi", "me@", "me@pi x"):
        with pytest.raises(DeviceProfileError, match="unknown device"):
            find(name, tmp_path)
    assert [device.name for device in available(tmp_path)] == [
        "board",
        *SHIPPED,
    ]


@pytest.mark.parametrize("name", ["raspberrypi5", "jetson-orin-nano"])
def test_where_a_board_is_stands_in_the_configuration_of_ssh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = tmp_path / "config"
    monkeypatch.setattr("device_profiles._SSH_CONFIG", config)
    assert find(name).connection == Connection("ssh")
    config.write_text(f"Host {name}\nHostName 10.0.0.2\n")
    assert find(name).connection == Connection("ssh", host=name)
    assert find(name).clusters
    path = tmp_path / "a b.toml"  # no name that ssh takes
    path.write_text(GOOD.replace('"board"', '"a b"').replace(KIND, SSH))
    assert find(path).connection == Connection("ssh")


@pytest.mark.parametrize("worker", ["python", "native"])
def test_a_device_may_ask_for_a_worker(tmp_path: Path, worker: str) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD)
    assert find(path).connection.worker is None
    path.write_text(GOOD.replace(KIND, f'{KIND}\nconnection.worker = "{worker}"'))
    assert find(path).connection == Connection("local", worker=worker)
    path.write_text(
        GOOD.replace(KIND, f'{SSH}\nconnection.host = "pi"\nconnection.worker = "{worker}"')
    )
    assert find(path).connection == Connection("ssh", host="pi", worker=worker)


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ("", Accelerator("cpu")),
        ('accelerator.name = "Cortex"', Accelerator("cpu", "Cortex")),
        ('accelerator.kind = "cuda"', Accelerator("cuda")),
        ('accelerator = {kind = "cuda", name = "NVIDIA H100"}', Accelerator("cuda", "NVIDIA H100")),
    ],
)
def test_an_accelerator_may_be_named(tmp_path: Path, lines: str, wanted: Accelerator) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD.replace(KIND, f"{KIND}\n{lines}"))
    assert find(path).accelerator == wanted


def test_files_of_earlier_releases_are_read(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD.replace(KIND, 'transport = "adb"'))
    assert find(path).connection == Connection("adb")


def test_a_device_is_held_to_some_of_its_cores(tmp_path: Path) -> None:
    assert find("pixel6").default_cores is None
    held = {
        "big": (6, 7),
        "mid": (4, 5),
        "little": (0, 1, 2, 3),
        "0xc1": (0, 6, 7),
        "0xF0": (4, 5, 6, 7),
    }
    for cluster, cores in held.items():
        found = find(f"pixel6:{cluster}")
        assert (found.name, found.default_cores) == ("pixel6", cores)
        assert found.clusters == find("pixel6").clusters
    path = tmp_path / "board.toml"
    path.write_text(GOOD)  # one cluster, whose cores are not numbered
    assert find(f"{path}:0x2").default_cores == (1,)
    for name in (f"{path}:big", f"{path}:mid", "host:little"):
        with pytest.raises(DeviceProfileError, match=r"no cluster '.*' whose cores.*--cluster 0x3"):
            find(name)
    with pytest.raises(DeviceProfileError, match="0x0 names no core"):
        find("pixel6:0x0")
    with pytest.raises(DeviceProfileError, match="unknown device 'pixel6:huge'"):
        find("pixel6:huge")


def test_several_devices_are_named_with_commas(tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(GOOD)
    names = [device.name for device in find_all("host, board", tmp_path)]
    assert names == ["host", "board"]
    odd = tmp_path / "a,b.toml"
    odd.write_text(GOOD.replace('"board"', '"a,b"'))
    assert [device.name for device in find_all(odd)] == ["a,b"]
    with pytest.raises(DeviceProfileError, match="unknown device ''"):
        find_all("host,", tmp_path)
    with pytest.raises(DeviceProfileError, match="taken by nasc profile and nasc compile alone"):
        find("host,board", tmp_path)
