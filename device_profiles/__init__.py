"""Devices as data: one TOML file per device, found by name and validated.

No logic beyond finding, parsing and validating; what reaches a device lives in `profilers`.
The format is described in docs/measuring.md.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from device_profiles.noise import NOISE_NAMES
from device_profiles.noise import UNSTATED as UNSTATED
from device_profiles.noise import Noise as Noise
from device_profiles.reading import FileRefused, read_toml, shown
from device_profiles.ssh_hosts import named_hosts

_FIELDS = {
    "local": ("worker",),
    "command": ("command",),
    "adb": ("product", "serial"),
    "ssh": ("host", "port", "python", "folder", "worker"),
    "browser": ("program",),
}
"""Ways to reach a device, each with its fields of [connection]; what reads them is in `_Reader`."""

CONNECTIONS = tuple(_FIELDS)
"""Ways to reach a device that a file may name."""

PYTHON = "python"
NATIVE = "native"
WORKERS = (PYTHON, NATIVE)
"""Programs that may run a device's models: a Python there, or the native worker."""

CPU = "cpu"
ACCELERATORS = (CPU, "cuda")
"""What may compute on a device, as a file may name it; the processor where it names nothing."""

SSH_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,253}[A-Za-z0-9_.-]|[A-Za-z0-9_]")
"""What ssh may be given: never an option, nor anything that a shell would read."""

MAX_CORES = 4096
"""Threads, cores and core numbers of a device are no more."""

MAX_FIGURE = 100_000
"""No core has a clock of more MHz, nor computes more in a cycle."""

_TOP_LEVEL = (
    *("name", "description", "connection", "transport", "accelerator"),
    *("detect", "clusters", "defaults", "specs", "peaks", "noise", "emulated"),
)
_HELD = re.compile(r"(.+):(big|mid|little|0x[0-9a-fA-F]{1,1024})")

_MAX_WORDS = 100
_SSH_CONFIG = Path("~/.ssh/config").expanduser()
_HERE = Path(__file__).resolve().parent


class DeviceProfileError(Exception):
    """A device file is wrong, or no device has the name asked for."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Cores of one kind.

    Attributes:
        core: the core's product name, for example "Cortex-X1".
        count: how many of them.
        ids: their logical numbers in the operating system, where they are certain.
    """

    core: str
    count: int
    ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """One fact about a device and where it was read.

    Attributes:
        name: what is stated, with its unit at the end where it has one.
        value: the fact.
        source: an address that shows it.
        date: when it was read there (ISO 8601).
    """

    name: str
    value: str | int | float
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Peak:
    """What one core of a kind computes at most, by what its maker states.

    Attributes:
        core: the core's product name, as of its cluster.
        clock_mhz: its highest clock.
        fp32_macs_per_cycle: multiply-accumulates in fp32, all vector units together.
        int8_macs_per_cycle: the same of int8, by dot-product instructions where it has them; None
            where that is not known.
        source: an address, or a document's title and number, that shows it.
        date: when it was read there (ISO 8601).
    """

    core: str
    clock_mhz: int
    fp32_macs_per_cycle: int
    int8_macs_per_cycle: int | None
    source: str
    date: str


@dataclass(frozen=True, slots=True)
class Connection:
    """How a device is reached.

    Attributes:
        kind: one of `CONNECTIONS`.
        command: of the kind "command": the program, with its arguments, that runs
            `python -m profilers.worker` on the device and passes its stdin and stdout on.
        host: of the kind "ssh": what `ssh` is given, a name of its configuration or USER@HOST. A
            file that names none means the device's own name where ~/.ssh/config has it; None
            where that does not, so that nobody knows where the device is.
        port: of the kind "ssh"; None leaves it to ssh's configuration.
        python: of the kind "ssh": the program there that runs the worker.
        folder: of the kind "ssh": where files lie there, from the folder in which its shell starts.
        worker: of the kinds "local" and "ssh": one of `WORKERS`. None is this Python on a local
            device, over SSH the native worker where there is one for machine and runtime.
        product: of the kind "adb": what the phone calls itself in its property ro.product.device;
            None where any phone will do.
        serial: of the kind "adb": the serial number of the only phone meant; None where any of the
            product will do.
        program: of the kind "browser": the program of a Chromium on this machine, by its name or
            path; None looks for one.
    """

    kind: str
    command: tuple[str, ...] = ()
    host: str | None = None
    port: int | None = None
    python: str = "python3"
    folder: str = ".cache/nasc"
    worker: str | None = None
    product: str | None = None
    serial: str | None = None
    program: str | None = None


_DEFAULT = Connection("ssh")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What computes on a device.

    Attributes:
        kind: one of `ACCELERATORS`.
        name: its product name, for people; None where the file tells none.
    """

    kind: str = CPU
    name: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """A device on which models can be measured.

    Attributes:
        name: as it is given to --device; the file's name without its suffix.
        description: one line for people.
        connection: how the device is reached.
        accelerator: what computes there.
        detect: cores and model are read from the machine itself when it is measured.
        clusters: its cores by kind, fastest first; empty where they are detected.
        default_threads: threads used when nobody says otherwise.
        default_runtime: runtime used when nobody says otherwise.
        default_cores: cores used when nobody says otherwise; None leaves it to the system.
        specs: facts with their sources.
        path: the file it was read from; of a machine that ssh alone knows, where one would lie.
        noise: how far measurements on it lie apart.
        emulated: what runs there is emulated: it shows that models work, and nothing of their time.
        peaks: what its cores compute at most, for estimates without the device.
    """

    name: str
    description: str
    connection: Connection
    accelerator: Accelerator
    detect: bool
    clusters: tuple[Cluster, ...]
    default_threads: int
    default_runtime: str
    default_cores: tuple[int, ...] | None
    specs: tuple[Spec, ...]
    path: Path
    noise: Noise = field(default_factory=Noise)
    emulated: bool = False
    peaks: tuple[Peak, ...] = ()


def user_folder() -> Path:
    """The folder where a user's own device files are looked for."""
    return Path(platformdirs.user_config_dir("nasc")) / "devices"


def available(
    user_dir: Path | None = None,
    on_wrong: Callable[[DeviceProfileError], None] | None = None,
) -> tuple[DeviceProfile, ...]:
    """All devices that can be named.

    Args:
        user_dir: the user's device files; None takes `user_folder()`. A file there hides a
            shipped one of the same name.
        on_wrong: told of each file that is wrong, which is left out then.

    Returns:
        The profiles, ordered by name.

    Raises:
        DeviceProfileError: a file is wrong and nobody is told.
    """
    found = []
    for _, path in sorted(_files(user_dir).items()):
        try:
            found.append(load(path))
        except DeviceProfileError as error:
            if on_wrong is None:
                raise
            on_wrong(error)
    return tuple(found)


def names(user_dir: Path | None = None) -> list[str]:
    """The names of `available`'s devices, ordered, without reading their files."""
    return sorted(_files(user_dir))


def find(name_or_path: str | Path, user_dir: Path | None = None) -> DeviceProfile:
    """Finds a device.

    Args:
        name_or_path: a name out of `available`, the path of a TOML file (anything that ends in
            .toml or holds a path separator), or a machine as `ssh` is given it: USER@HOST, or a
            name of ~/.ssh/config. With ":big", ":mid", ":little" or ":0xMASK" behind it, the device
            held to those of its cores, see `on_cluster`.
        user_dir: see `available`.

    Returns:
        The validated profile.

    Raises:
        DeviceProfileError: no such device or file, or the file is wrong.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, str) and (held := _HELD.fullmatch(text)):
        return on_cluster(find(held[1], user_dir), held[2])
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        return load(Path(name_or_path))
    files = _files(user_dir)
    if text in files:
        return load(files[text])
    if SSH_HOST.fullmatch(text) and ("@" in text or text in named_hosts(_SSH_CONFIG)):
        return _over_ssh(text, user_dir)
    close = difflib.get_close_matches(text, files, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    if "," in text:
        hint = " Several devices are taken by nasc profile and nasc compile alone; give one here."
    raise DeviceProfileError(
        f"unknown device {text!r}.{hint} Known devices: {', '.join(sorted(files))}. "
        "List them: nasc devices. Add your own: give --device the path of a TOML file, or put it "
        f"into {user_dir or user_folder()}. A machine that ssh reaches: --device USER@HOST"
    )


def on_cluster(profile: DeviceProfile, cluster: str) -> DeviceProfile:
    """The same device, held to some of its cores.

    Args:
        profile: The device.
        cluster: "big", "little" (the first and the last of its clusters), "mid" (those between),
            or a mask of cores such as 0xc0.

    Raises:
        DeviceProfileError: the device's file does not tell which cores these are.
    """
    ids: tuple[int, ...] = ()
    if cluster.startswith("0x"):
        mask = int(cluster, 16)
        ids = tuple(core for core in range(mask.bit_length()) if mask >> core & 1)
        if not ids:
            raise DeviceProfileError(
                f"the mask {cluster} names no core: its lowest bit is core 0, 0x3 is cores 0 and 1"
            )
        return dataclasses.replace(profile, default_cores=ids)
    clusters = profile.clusters
    named = {"big": clusters[:1], "mid": clusters[1:-1], "little": clusters[1:][-1:]}
    found = [one.ids for one in named.get(cluster, ())]
    if not found or None in found:
        kinds = "; ".join(f"{one.count} x {one.core}" for one in clusters) or "not told"
        raise DeviceProfileError(
            f"device {profile.name!r} has no cluster {cluster!r} whose cores are known (its cores: "
            f"{kinds}). Name cores by a mask, core 0 its lowest bit: --cluster 0x3; or write "
            f"[[clusters]] with ids into {str(profile.path)!r}"
        )
    ids = tuple(sorted(core for one in found for core in one or ()))
    return dataclasses.replace(profile, default_cores=ids)


def find_all(names_or_paths: str | Path, user_dir: Path | None = None) -> tuple[DeviceProfile, ...]:
    """Finds the devices of a list.

    Args:
        names_or_paths: What `find` takes, one or several with commas between.
        user_dir: See `available`.

    Raises:
        DeviceProfileError: See `find`, or an empty name.
    """
    return tuple(find(one, user_dir) for one in named_devices(names_or_paths))


def named_devices(names_or_paths: str | Path) -> tuple[str, ...]:
    """The names or paths of a list, with commas between; a file of that name is one."""
    text = str(names_or_paths)
    if "," not in text or Path(text).is_file():
        return (text,)
    return tuple(one.strip() for one in text.split(","))


def _over_ssh(host: str, user_dir: Path | None) -> DeviceProfile:
    """A machine of which nothing is known but how ssh reaches it."""
    path = (user_dir or user_folder()) / f"{host}.toml"
    return bare(host, f"{host}, by ssh", Connection("ssh", host=host), path)


def bare(name: str, description: str, connection: Connection, path: Path) -> DeviceProfile:
    """A device of which nothing is known but how it is reached.

    Args:
        name: Of the device.
        description: See `DeviceProfile`.
        connection: How it is reached.
        path: Where its file would lie.
    """
    return DeviceProfile(
        name=name,
        description=description,
        connection=connection,
        accelerator=Accelerator(),
        detect=True,
        clusters=(),
        default_threads=1,
        default_runtime="onnxruntime",
        default_cores=None,
        specs=(),
        path=path,
    )


def load(path: Path) -> DeviceProfile:
    """Reads and validates one device file.

    Raises:
        DeviceProfileError: the file is missing, is no TOML, or a field is missing or wrong.
    """
    try:
        data = read_toml(path)
    except OSError as error:
        raise DeviceProfileError(
            f"cannot read the device file {str(path)!r}: {error.strerror or error}. Give a known "
            "device's name or the path of a readable TOML file; list them: nasc devices"
        ) from error
    except FileRefused as error:
        raise DeviceProfileError(
            f"the device file {error}. Start from a shipped one: {_HERE / 'host.toml'}"
        ) from error
    return _Reader(path).profile(data)


def _files(user_dir: Path | None) -> dict[str, Path]:
    """Device files by name; the user's come after the shipped ones and win."""
    folders = (_HERE, user_folder() if user_dir is None else user_dir)
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.toml"))}


class _Reader:
    """Turns parsed TOML into a profile; its errors name the file and the field."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def profile(self, data: Mapping[str, Any]) -> DeviceProfile:
        self._known(data, _TOP_LEVEL, "")
        connection = self._connection(data)
        name = self._text(data, "name")
        if name != self._path.stem:
            raise self._wrong("name", name, f"the file's own name, {self._path.stem!r}")
        detect = self._flag(data, "detect")
        clusters = tuple(self._cluster(item) for item in self._tables(data, "clusters"))
        if not clusters and not detect:
            raise self._wrong("clusters", [], "at least one [[clusters]] table, or detect = true")
        defaults = data.get("defaults", {})
        if not isinstance(defaults, dict):
            raise self._wrong("defaults", defaults, "a [defaults] table")
        self._known(defaults, ("threads", "runtime", "cores"), "defaults.")
        return DeviceProfile(
            name=name,
            description=self._text(data, "description"),
            connection=connection,
            accelerator=self._accelerator(data),
            detect=detect,
            clusters=clusters,
            default_threads=self._count(defaults, "threads", "defaults."),
            default_runtime=self._text(defaults, "runtime", "defaults."),
            default_cores=self._ids(defaults, "cores", "defaults."),
            specs=tuple(self._spec(item) for item in self._tables(data, "specs")),
            path=self._path,
            noise=self._noise(data.get("noise", {})),
            emulated=self._flag(data, "emulated"),
            peaks=self._peaks(data, clusters),
        )

    def _connection(self, data: Mapping[str, Any]) -> Connection:
        """Files of earlier releases name its kind alone, as `transport`."""
        table: Any
        if "connection" in data and "transport" in data:
            raise self._wrong("transport", data["transport"], "left out beside [connection]")
        if "connection" not in data and "transport" in data:
            table, key, prefix = data, "transport", ""
        else:
            table, key, prefix = data.get("connection"), "kind", "connection."
            if not isinstance(table, dict):
                raise self._wrong("connection", table, "a [connection] table")
            known = dict.fromkeys(name for names in _FIELDS.values() for name in names)
            self._known(table, ("kind", *known), prefix)
        kind = self._text(table, key, prefix)
        if kind not in CONNECTIONS:
            raise self._wrong(prefix + key, kind, f"one of {', '.join(CONNECTIONS)}")
        fields = table if key == "kind" else {}
        for name in (one for one in fields if one not in ("kind", *_FIELDS[kind])):
            allowed = " or ".join(f'"{of}"' for of, names in _FIELDS.items() if name in names)
            raise self._wrong(prefix + name, fields[name], f"of kind {allowed} alone")
        read = {
            "local": self._local,
            "command": self._command,
            "adb": self._adb,
            "ssh": self._ssh,
            "browser": self._browser,
        }
        return read[kind](fields)

    def _local(self, table: Mapping[str, Any]) -> Connection:
        return Connection("local", worker=self._worker(table))

    def _adb(self, table: Mapping[str, Any]) -> Connection:
        product, serial = (
            self._text(table, name, "connection.") if name in table else None
            for name in _FIELDS["adb"]
        )
        return Connection("adb", product=product, serial=serial)

    def _browser(self, table: Mapping[str, Any]) -> Connection:
        named = self._text(table, "program", "connection.") if "program" in table else None
        return Connection("browser", program=named)

    def _command(self, table: Mapping[str, Any]) -> Connection:
        words = table.get("command")
        if (
            not isinstance(words, list)
            or not 0 < len(words) <= _MAX_WORDS
            or not all(isinstance(w, str) and len(w) <= 4096 and "\0" not in w for w in words)
            or not words[0]
        ):
            raise self._wrong("connection.command", words, "a program and its arguments, as a list")
        return Connection("command", tuple(words))

    def _worker(self, table: Mapping[str, Any]) -> str | None:
        worker = table.get("worker")
        if worker is not None and worker not in WORKERS:
            raise self._wrong("connection.worker", worker, f"one of {', '.join(WORKERS)}")
        return worker

    def _ssh(self, table: Mapping[str, Any]) -> Connection:
        host = self._text(table, "host", "connection.") if "host" in table else None
        if host is None and SSH_HOST.fullmatch(self._path.stem):
            host = self._path.stem if self._path.stem in named_hosts(_SSH_CONFIG) else None
        if host is not None and not SSH_HOST.fullmatch(host):
            allowed = "what `ssh` is given: USER@HOST, or a name of ~/.ssh/config"
            raise self._wrong("connection.host", host, allowed)
        port = table.get("port")
        if port is not None and (type(port) is not int or not 0 < port < 65536):
            raise self._wrong("connection.port", port, "a whole number from 1 to 65535")
        python, folder = (
            self._text(table, name, "connection.") if name in table else getattr(_DEFAULT, name)
            for name in ("python", "folder")
        )
        for which, text in (("python", python), ("folder", folder)):
            if text[0] in "~-":
                allowed = (
                    "a path; one that is not whole begins at home: bin/python, not ~/bin/python"
                )
                raise self._wrong(f"connection.{which}", text, allowed)
        if "\\" in folder or '"' in folder:
            raise self._wrong("connection.folder", folder, "a path without quotes and backslashes")
        worker = self._worker(table)
        return Connection("ssh", host=host, port=port, python=python, folder=folder, worker=worker)

    def _accelerator(self, data: Mapping[str, Any]) -> Accelerator:
        """The processor itself where a file names none."""
        table = data.get("accelerator", {})
        if not isinstance(table, dict):
            raise self._wrong("accelerator", table, "an [accelerator] table")
        self._known(table, ("kind", "name"), "accelerator.")
        kind = table.get("kind", CPU)
        if kind not in ACCELERATORS:
            raise self._wrong("accelerator.kind", kind, f"one of {', '.join(ACCELERATORS)}")
        name = self._text(table, "name", "accelerator.") if "name" in table else None
        return Accelerator(kind, name)

    def _cluster(self, item: Mapping[str, Any]) -> Cluster:
        self._known(item, ("core", "count", "ids"), "clusters.")
        count = self._count(item, "count", "clusters.")
        ids = self._ids(item, "ids", "clusters.")
        if ids is not None and len(ids) != count:
            raise self._wrong("clusters.ids", list(ids), f"{count} different numbers, as in count")
        return Cluster(self._text(item, "core", "clusters."), count, ids)

    def _spec(self, item: Mapping[str, Any]) -> Spec:
        self._known(item, ("name", "value", "source", "date"), "specs.")
        value = item.get("value")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self._wrong("specs.value", value, "text or a number")
        date = self._date(item, "specs.")
        source = self._text(item, "source", "specs.")
        return Spec(self._text(item, "name", "specs."), value, source, date)

    def _peaks(self, data: Mapping[str, Any], clusters: tuple[Cluster, ...]) -> tuple[Peak, ...]:
        found = tuple(self._peak(item) for item in self._tables(data, "peaks"))
        cores = [cluster.core for cluster in clusters]
        for peak in found:
            if cores and peak.core not in cores:
                raise self._wrong("peaks.core", peak.core, f"one of {', '.join(cores)}")
        if len({peak.core for peak in found}) < len(found):
            named = [peak.core for peak in found]
            raise self._wrong("peaks.core", named, "another core in each [[peaks]] table")
        return found

    def _peak(self, item: Mapping[str, Any]) -> Peak:
        figures = ("clock_mhz", "fp32_macs_per_cycle", "int8_macs_per_cycle")
        self._known(item, ("core", *figures, "source", "date"), "peaks.")
        optional = "int8_macs_per_cycle"
        values = {
            name: self._figure(item, name) for name in figures if name in item or name != optional
        }
        return Peak(
            self._text(item, "core", "peaks."),
            values["clock_mhz"],
            values["fp32_macs_per_cycle"],
            values.get(optional),
            self._text(item, "source", "peaks."),
            self._date(item, "peaks."),
        )

    def _figure(self, item: Mapping[str, Any], name: str) -> int:
        value = item.get(name)
        if type(value) is not int or not 1 <= value <= MAX_FIGURE:
            raise self._wrong(f"peaks.{name}", value, f"a whole number from 1 to {MAX_FIGURE}")
        return value

    def _date(self, item: Mapping[str, Any], prefix: str) -> str:
        date = item.get("date")
        if not isinstance(date, datetime.date):
            raise self._wrong(f"{prefix}date", date, "a date such as 2026-11-22")
        return date.isoformat()

    def _noise(self, table: Any) -> Noise:
        if not isinstance(table, dict):
            raise self._wrong("noise", table, "a [noise] table")
        self._known(table, NOISE_NAMES, "noise.")
        try:
            return Noise.from_dict(table)
        except ValueError as error:
            raise DeviceProfileError(
                f"the device file {str(self._path)!r} has noise.{error}. What it means and how to "
                "measure it: docs/measuring.md"
            ) from error

    def _known(self, table: Mapping[str, Any], allowed: tuple[str, ...], prefix: str) -> None:
        for key in table:
            if key not in allowed:
                close = difflib.get_close_matches(key, allowed, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise DeviceProfileError(
                    f"the device file {str(self._path)!r} has the unknown field "
                    f"{shown(prefix + key)}.{hint} Allowed: {', '.join(allowed)}."
                )

    def _tables(self, data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
        items = data.get(key, [])
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self._wrong(key, items, f"[[{key}]] tables")
        return items

    def _flag(self, table: Mapping[str, Any], key: str) -> bool:
        value = table.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def _text(self, table: Mapping[str, Any], key: str, prefix: str = "") -> str:
        value = table.get(key)
        if not isinstance(value, str) or not 0 < len(value) <= 1000 or not value.isprintable():
            raise self._wrong(prefix + key, value, "a text of one line that is not empty")
        return value

    def _count(self, table: Mapping[str, Any], key: str, prefix: str) -> int:
        value = table.get(key)
        if type(value) is not int or not 1 <= value <= MAX_CORES:
            raise self._wrong(prefix + key, value, f"a whole number from 1 to {MAX_CORES}")
        return value

    def _ids(self, table: Mapping[str, Any], key: str, prefix: str) -> tuple[int, ...] | None:
        value = table.get(key)
        if value is None:
            return None
        numbers = value if isinstance(value, list) else []
        if not numbers or not all(type(n) is int and 0 <= n < MAX_CORES for n in numbers):
            allowed = f"a list of core numbers, each 0 or above and below {MAX_CORES}"
            raise self._wrong(prefix + key, value, allowed)
        if len(set(numbers)) != len(numbers):
            raise self._wrong(prefix + key, value, "a list without repetitions")
        return tuple(numbers)

    def _wrong(self, field: str, value: object, allowed: str) -> DeviceProfileError:
        if value is None:
            return DeviceProfileError(
                f"the device file {str(self._path)!r} lacks {field!r}; it must be {allowed}. "
                f"Start from a shipped file: {_HERE / 'host.toml'}"
            )
        return DeviceProfileError(
            f"the device file {str(self._path)!r} has {field} = {shown(value)}; "
            f"it must be {allowed}. Start from a shipped file: {_HERE / 'host.toml'}"
        )
