"""Devices over SSH: the real client and a real sshd on this machine, with files of its own.

Skipped where there is no sshd (Debian: openssh-server) that this user may run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import device_profiles
from device_profiles import Connection, DeviceProfile
from nasc import api
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.cli import main
from nasc.latency.session import latency_job
from nasc.lowering import get_lowering
from nasc.networks.network import random_network
from nasc.teacher import load_teacher
from nasc.utils.progress import Silent
from profilers import ModelRejected, RuntimeOptions, WorkerLimits, open_worker
from profilers.devices.base import ModelRunner
from profilers.devices.remote import RemoteWorker
from profilers.errors import (
    DeviceUnreachable,
    ProfilerError,
    RunnerUnavailable,
    RuntimeMissing,
    WorkerDied,
)
from profilers.jobs import ModelJob
from profilers.reference import reference_job
from profilers.runner.library import runtime_library
from profilers.runner.targets import this_machine
from profilers.samples import Step

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ssh,
    pytest.mark.skipif(SSHD is None, reason="there is no sshd (Debian: openssh-server)"),
]


@dataclass(frozen=True)
class Board:
    """An sshd of one's own, which the names of `config` reach.

    Attributes:
        device: This machine over it.
        folder: Holds its keys, its configuration and the device's files.
        server: Its process.
    """

    device: DeviceProfile
    folder: Path
    server: subprocess.Popen[bytes]

    def python(self, **connection: object) -> DeviceProfile:
        """The same machine with the Python worker."""
        return self.at(worker="python", **connection)

    def at(self, **connection: object) -> DeviceProfile:
        """The same machine, reached otherwise."""
        changed = dataclasses.replace(self.device.connection, **connection)  # type: ignore[arg-type]
        return dataclasses.replace(self.device, connection=changed)

    @property
    def sent(self) -> list[str]:
        """Names of what lies on the device, relative to its folder of files."""
        files = Path(self.device.connection.folder) / "files"
        return sorted(str(p.relative_to(files)) for p in files.rglob("*") if p.is_file())


def key(path: Path) -> Path:
    """Makes a key pair."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(words, check=True)
    return path


def started(folder: Path, limit_kb: int | None = None) -> tuple[subprocess.Popen[bytes], int]:
    """Starts an sshd on a free port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PidFile {folder}/sshd.pid\nSubsystem sftp internal-sftp\n"
    )
    if os.getuid() == 0:  # where it gives its rights up; the system's service makes it
        Path("/run/sshd").mkdir(exist_ok=True)
    least = "" if limit_kb is None else f"trap '' XFSZ; ulimit -f {limit_kb}; "
    line = f'{least}exec "{SSHD}" -D -e -f "{folder}/sshd_config"'
    server = subprocess.Popen(["bash", "-c", line], stderr=subprocess.DEVNULL)
    for _ in range(200):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return server, port
        time.sleep(0.05)
    server.kill()
    server.wait()
    pytest.skip("this user may not run an sshd")


def runtime_library_name() -> str:
    """What ONNX Runtime's library is called."""
    return runtime_library(this_machine().name).name


Start = Callable[..., Board]


@pytest.fixture
def start(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    """Makes a board. OpenSSH's client takes no other home from the environment: it is told one."""
    running: list[subprocess.Popen[bytes]] = []
    known: list[str] = []
    path = os.environ["PATH"]

    def make(limit_kb: int | None = None, name: str = "board") -> Board:
        folder = tmp_path_factory.mktemp("sshd")
        key(folder / "host")
        key(folder / "user")
        server, port = started(folder, limit_kb)
        running.append(server)
        host = (folder / "host.pub").read_text().split()
        (folder / "known").write_text(f"[127.0.0.1]:{port} {host[0]} {host[1]}\n")
        known.append(
            f"Host {name}\nHostName 127.0.0.1\nPort {port}\nIdentityFile {folder}/user\n"
            f"UserKnownHostsFile {folder}/known\n"
        )
        (folder / "config").write_text(
            "".join(known)
            + f"Host stranger\nHostName 127.0.0.1\nPort {port}\nIdentityFile {folder}/host\n"
            f"Host off\nHostName 127.0.0.1\nPort 1\n"
            f"Host *\nUserKnownHostsFile {folder}/known\nIdentitiesOnly yes\n"
        )
        (folder / "bin").mkdir()
        for client in ("ssh", "sftp"):
            program = folder / "bin" / client
            whole = shutil.which(client, path=path)
            program.write_text(f'#!/bin/sh\nexec {whole} -F {folder}/config "$@"\n')
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}/bin{os.pathsep}{path}")
        connection = Connection(
            "ssh",
            host=name,
            python=sys.executable,
            folder=f"{folder}/on the device; $(touch {folder}/interpreted)",
        )
        device = dataclasses.replace(device_profiles.find("host"), name=name, connection=connection)
        return Board(device, folder, server)

    yield make
    for server in running:
        server.terminate()
        server.wait()


@pytest.fixture
def board(start: Start) -> Board:
    return start()


@pytest.fixture
def cache(built_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the native worker is; another folder of the user's own has none."""
    monkeypatch.setattr(
        "profilers.runner.build._compile", lambda *_: pytest.fail("it was built in another cache")
    )
    return built_cache


@pytest.mark.parametrize("worker", [None, "python"])
def test_a_machine_is_measured_over_ssh(
    board: Board, cache: Path, tmp_path: Path, worker: str | None
) -> None:
    reference = reference_job(tmp_path)
    steps = [Step(reference.name, warmup=1, runs=2)]
    program = ["worker.pyz"] if worker else ["nasc-runner", runtime_library_name()]
    device = board.at(worker=worker)
    with open_worker(device, RuntimeOptions(), cache=cache) as there:
        there.load(reference, seed=0)
        assert len(there.visit(steps)[0].runs_ms) == 2
        assert there.describe(str(reference.path))
        assert (there.peak_bytes() or 0) > (there.base_bytes or 0) > 0
        before = board.sent
        names = sorted(name.rpartition("/")[2] for name in before)
        assert names == sorted(["model.onnx", *program])
        assert there.context["worker"] == (worker or "native")
        assert isinstance(there, RemoteWorker)
        assert isinstance(there, ModelRunner)
        drawn = {
            name: np.full(spec.shape, 0.5, spec.dtype) for name, spec in reference.inputs.items()
        }
        there.open("again", str(reference.path))
        found = there.run("again", drawn)
        context = there.context
    with open_worker(device_profiles.find("host"), RuntimeOptions()) as here:
        assert isinstance(here, ModelRunner)
        here.open("m", str(reference.path))
        assert np.array_equal(here.run("m", drawn)[0], found[0])
        assert here.context["fingerprint"] == context["fingerprint"]
    # What lies there is not sent again, and nothing of the folder's name was interpreted.
    with open_worker(device, RuntimeOptions(), cache=cache) as there:
        there.load(reference, seed=0)
    assert board.sent == before
    assert not (board.folder / "interpreted").exists()


@pytest.mark.parametrize(
    "beside", ["a model's 'name' $(x).onnx.data", "weights.bin", "be low/$(touch interpreted)"]
)
def test_weights_beside_a_model_are_sent_under_their_name(
    board: Board, tmp_path: Path, beside: str
) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(reference_job(tmp_path).path)
    path = tmp_path / "a model's 'name' $(x).onnx"
    (tmp_path / beside).parent.mkdir(exist_ok=True)
    onnx.save(model, path, save_as_external_data=True, location=beside, size_threshold=1024)
    job = ModelJob("m", path, reference_job(tmp_path).inputs)
    with open_worker(board.python(), RuntimeOptions()) as there:
        there.load(job, seed=0)
        assert there.visit([Step("m", 0, 1)])
        with pytest.raises(ModelRejected, match=r"cannot read the model|there is no file"):
            there.load(ModelJob("gone", tmp_path / "gone.onnx", job.inputs), seed=0)
        worse = path.with_name('a".onnx')
        shutil.copy(path, worse)
        worse.with_name('a".onnx.data').touch()
        with pytest.raises(ModelRejected, match=r"weights 'a\"\.onnx\.data' .* cannot be sent"):
            there.load(ModelJob("m", worse, job.inputs), seed=0)


def test_a_file_is_benched_over_ssh(board: Board, cache: Path, tmp_path: Path) -> None:
    """The whole of a command, as a user gives it; the native worker comes from its --cache."""
    path = device_file(tmp_path, board)
    assert device_profiles.find(path).connection == board.device.connection
    model = reference_job(tmp_path).path
    words = ["bench", str(model), "--device", str(path), "--cache", str(cache)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "ms" in done.output


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"host": "no-such-machine.invalid"}, DeviceUnreachable, "no machine of that name .* ssh"),
        ({"host": "off"}, DeviceUnreachable, "no SSH server answers there"),
        ({"host": "stranger"}, DeviceUnreachable, r"accepts no key of yours.*ssh-copy-id stranger"),
        (
            {"folder": "/dev/null"},
            DeviceUnreachable,
            r"cannot run a command on device 'board': .*ot",
        ),
        (
            {"python": "/bin/no python"},
            DeviceUnreachable,
            r"no program '/bin/no python' .*connecti",
        ),
        ({"python": "false"}, WorkerDied, "exit status 1"),
    ],
)
def test_what_cannot_be_reached_says_why(
    board: Board, change: dict[str, str], error: type[ProfilerError], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_worker(board.python(**change), RuntimeOptions())


def test_a_host_whose_key_has_changed_is_refused(board: Board) -> None:
    known = board.folder / "known"
    name, kind, _ = known.read_text().split()
    other = (key(board.folder / "other").with_suffix(".pub")).read_text().split()[1]
    known.write_text(f"{name} {kind} {other}\n")
    with pytest.raises(DeviceUnreachable, match=r"host key is not known here, or has changed"):
        open_worker(board.python(), RuntimeOptions())
    known.unlink()
    with pytest.raises(DeviceUnreachable, match=r"host key is not known here, or has changed"):
        open_worker(board.python(), RuntimeOptions())
    assert not known.exists()


def test_a_python_without_numpy_says_what_it_needs(board: Board) -> None:
    bare = board.folder / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(RuntimeMissing, match=r"cannot run the worker: ModuleNotFoundError.*3\.11"):
        open_worker(board.python(python=str(bare)), RuntimeOptions())


def test_a_full_storage_says_so_and_keeps_nothing_half(start: Start, tmp_path: Path) -> None:
    board = start(limit_kb=1000)  # the worker fits, the model does not
    path = reference_job(tmp_path).path
    large = tmp_path / "large.onnx"
    large.write_bytes(path.read_bytes() + bytes(1 << 20))
    with open_worker(board.python(), RuntimeOptions()) as there:
        job = dataclasses.replace(reference_job(tmp_path), path=large)
        with pytest.raises(DeviceUnreachable, match=r"cannot send files .*Is its storage full\?"):
            there.load(job, seed=0)
        assert [name.rpartition("/")[2] for name in board.sent] == ["worker.pyz"]
        there.load(reference_job(tmp_path), seed=0)


def test_a_lost_connection_is_told_from_a_worker_that_died(board: Board, tmp_path: Path) -> None:
    reference = reference_job(tmp_path)
    worker = open_worker(board.python(), RuntimeOptions())
    worker.load(reference, seed=0)
    for session in sessions_of(board):
        os.kill(session, signal.SIGKILL)
    with pytest.raises(DeviceUnreachable, match=r"cannot run a worker on device 'board'.*kept"):
        worker.visit([Step(reference.name, 0, 1)])
    worker.close()


def test_what_is_damaged_there_is_sent_again(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = reference_job(tmp_path)
    with open_worker(board.python(), RuntimeOptions()) as there:
        there.load(reference, seed=0)
    files = Path(board.device.connection.folder) / "files"
    sizes = {name: (files / name).stat().st_size for name in board.sent}
    for name in sizes:
        (files / name).write_bytes(b"forged")
    monkeypatch.setattr("profilers.devices.remote._LOOKED_AT", {})  # as in another process
    with open_worker(board.python(), RuntimeOptions()) as there:
        there.load(reference, seed=0)
    assert {name: (files / name).stat().st_size for name in board.sent} == sizes


def running(board: Board, program: str) -> list[int]:
    """Processes of a program that lies on the device."""
    found = subprocess.run(
        ["pgrep", "-f", f"^[^ ]*(python[^ ]* )?[^ ]*{board.folder.name}/.*/{program}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(pid) for pid in found.stdout.split()]


@pytest.mark.parametrize(("kind", "program"), [("native", "nasc-runner"), ("python", "worker.pyz")])
def test_a_worker_that_is_killed_there_is_no_lost_connection(
    board: Board, cache: Path, tmp_path: Path, kind: str, program: str
) -> None:
    reference = reference_job(tmp_path)
    worker = open_worker(board.at(worker=kind), RuntimeOptions(), cache=cache)
    worker.load(reference, seed=0)
    (pid,) = running(board, program)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match=r"signal SIGKILL, as when memory runs out"):
        worker.visit([Step(reference.name, 0, 1)])
    worker.close()


def device_file(folder: Path, board: Board) -> Path:
    """What a user writes of a board."""
    connection = board.device.connection
    path = folder / f"{board.device.name}.toml"
    path.write_text(
        f'name = "{path.stem}"\ndescription = "a board"\ndetect = true\n[connection]\n'
        f'kind = "ssh"\nhost = "{connection.host}"\npython = "{connection.python}"\n'
        f'folder = "{connection.folder}"\n[defaults]\nthreads = 1\nruntime = "onnxruntime"\n',
        encoding="utf-8",
    )
    return path


class Killer(Silent):
    """Kills a board's server, and what it serves, in the middle of the measuring."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def stage(self, name: str) -> Callable[[int, int, str], None]:
        def report(done: int, total: int, message: str) -> None:
            if f"{self._board.device.name}: round" in message and done > 8:
                for pid in [*sessions_of(self._board), self._board.server.pid]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

        return report


def sessions_of(board: Board) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(board.server.pid)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def test_boards_share_a_table_and_one_may_die(
    start: Start,
    cache: Path,
    tmp_path: Path,
    teacher_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two of them, one of which is killed half-way: the other takes its networks too."""
    first, second = start(name="first"), start(name="second")
    names = ",".join(str(device_file(tmp_path, board)) for board in (first, second))
    geometry = load_teacher(teacher_folder()).geometry
    (tmp_path / "toy.toml").write_text(
        'n_blocks = 2\nslots = 2\nhidden_sizes = [32]\noperations = ["mha", "ffn"]\n[geometry]\n'
        + "".join(f"{name} = {value}\n" for name, value in vars_of(geometry).items())
    )
    settings = {"space": str(tmp_path / "toy.toml"), "precisions": ["fp32"], "seq_lens": [8]}
    killer = Killer(second)
    (found,) = api.profile(device=names, cache=cache, reporter=killer, **settings)
    assert found.table.key.device == "first"
    boards = found.table.context["boards"]
    assert {board["name"] for board in boards} == {"first"}
    assert sum(board["models"] for board in boards) == len(found.table.measured)
    assert any("'second' gave out: cannot run a worker" in text for text in killer.said)
    # The table is the first's: it is found without the other, of which nothing is asked.
    (again,) = api.profile(device=str(tmp_path / "first.toml"), cache=cache, **settings)
    assert not again.fresh


def vars_of(geometry: Geometry) -> dict[str, int]:
    names = ("layers", "hidden", "head_size", "intermediate", "vocab_size", "max_positions")
    return {name: getattr(geometry, name) for name in names}


def test_boards_that_differ_are_refused(start: Start, cache: Path, tmp_path: Path) -> None:
    board = start(name="other")
    paths = [device_file(tmp_path, one) for one in (board, start(name="second"))]
    paths[1].write_text(paths[1].read_text().replace("[defaults]", 'worker = "python"\n[defaults]'))
    words = ["profile", "--space", "minilm-l6", "--cache", str(cache)]
    names = ",".join(map(str, paths))
    done = CliRunner().invoke(main, [*words, "--device", names])
    assert done.exit_code == 2
    message = "'other' and 'second' cannot share a measurement: their workers are native and python"
    assert message in done.output
    done = CliRunner().invoke(main, [*words, "--device", f"{paths[0]},{paths[0]}"])
    assert "names the board 'other' twice" in done.output
    done = CliRunner().invoke(main, ["bench", "model.onnx", "--device", "first,second"])
    assert "unknown device 'first'" in done.output


def test_where_no_sftp_server_is_it_says_so(board: Board) -> None:
    config = board.folder / "sshd_config"
    config.write_text(config.read_text().replace("internal-sftp", "/bin/false"))
    board.server.send_signal(signal.SIGHUP)  # reads it anew
    time.sleep(1.0)
    with pytest.raises(DeviceUnreachable, match=r"ssh gets in, sftp does not.*openssh-sftp-server"):
        open_worker(board.python(), RuntimeOptions())


def test_a_run_without_an_end_is_ended_there(board: Board, tmp_path: Path) -> None:
    reference = reference_job(tmp_path)
    limits = WorkerLimits(run_s=0.001)
    with open_worker(board.python(), RuntimeOptions(), limits) as worker:
        worker.load(reference, seed=0)
        with pytest.raises(ModelRejected, match=r"did not finish one run within 0\.001 s"):
            worker.visit([Step(reference.name, 0, 2000)])


def test_a_native_worker_ends_when_the_caller_is_killed(
    board: Board, cache: Path, tmp_path: Path
) -> None:
    worker = open_worker(board.device, RuntimeOptions(), cache=cache)
    assert isinstance(worker, RemoteWorker)
    assert len(running(board, "nasc-runner")) == 1
    os.killpg(worker._process.pid, signal.SIGKILL)
    for _ in range(200):
        if not running(board, "nasc-runner"):
            break
        time.sleep(0.05)
    assert not running(board, "nasc-runner")
    worker.close()


def test_openvino_is_driven_by_the_python_there(board: Board, cache: Path) -> None:
    pytest.importorskip("openvino")
    with open_worker(board.device, RuntimeOptions("openvino"), cache=cache) as there:
        assert there.context["worker"] == "python"


TORCH = pytest.mark.skipif(
    os.environ.get("NASC_TEST_TORCH") != "1",
    reason="torch compiles for ten seconds and more (NASC_TEST_TORCH=1)",
)


@pytest.mark.parametrize("runtime", ["tvm", pytest.param("torch", marks=TORCH)])
def test_what_is_compiled_runs_there(board: Board, tmp_path: Path, runtime: str) -> None:
    """Its description goes with it, and the runtime there knows it by its ending."""
    pytest.importorskip(runtime)
    geometry = Geometry(1, 64, 32, 128, vocab_size=50, max_positions=24)
    network = random_network(Architecture((Block(64, ("mha", "ffn")),)), geometry)
    made = get_lowering(runtime).lower(network, tmp_path, "a model", shape=(1, 8))
    job = latency_job("m", made.path, seq_len=8, batch=1, rows=50)
    feeds = {name: np.ones((1, 8), np.int64) for name in job.inputs}
    options, found = RuntimeOptions(runtime), []
    for device in (board.python(), device_profiles.find("host")):
        with open_worker(device, options) as worker:
            worker.load(job, seed=0)
            assert worker.visit([Step("m", 0, 1)])
            assert isinstance(worker, ModelRunner)
            worker.open("m", str(made.path))
            found.append(worker.run("m", feeds)[0])
    np.testing.assert_array_equal(*found)


@pytest.fixture
def pretending(board: Board) -> Callable[[str, str], None]:
    """Makes the machine say that it is another: uname and getconf of its own on its path."""
    config = board.folder / "sshd_config"
    own = board.folder / "there"
    own.mkdir()
    path = f"{own}:/usr/local/bin:/usr/bin:/bin"
    config.write_text(f"{config.read_text()}SetEnv PATH={path}\n")

    def become(machine: str, libc: str) -> None:
        for name, said in (
            ("uname", f'[ "$1" = -s ] && echo Linux || echo "{machine}"'),
            ("getconf", f'echo "{libc}"'),
        ):
            (own / name).write_text(f"#!/bin/sh\n{said}\n")
            (own / name).chmod(0o755)
        board.server.send_signal(signal.SIGHUP)  # reads it anew
        time.sleep(1.0)

    return become


@pytest.mark.parametrize(
    ("machine", "libc", "message"),
    [
        ("riscv64", "glibc 2.36", r"'riscv64-linux' with glibc 2\.36: it is for: x86_64-linux, "),
        ("x86_64", "glibc 2.27", r"'x86_64-linux' with glibc 2\.27: it needs glibc 2\.28 or newer"),
        ("x86_64", "musl libc (x86_64)", r"with musl libc \(x86_64\): it needs glibc 2\.28"),
    ],
)
def test_where_no_native_worker_runs_the_python_there_does(
    board: Board,
    cache: Path,
    pretending: Callable[[str, str], None],
    machine: str,
    libc: str,
    message: str,
) -> None:
    pretending(machine, libc)
    with open_worker(board.device, RuntimeOptions(), cache=cache) as there:
        assert there.context["worker"] == "python"
    with pytest.raises(RunnerUnavailable, match=rf"{message}.*connection\.worker = \"python\""):
        open_worker(board.at(worker="native"), RuntimeOptions(), cache=cache)


def test_a_worker_for_another_machine_says_what_it_needs(
    board: Board,
    cache: Path,
    pretending: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that says it is what it is not: its shell tells that the program is no program."""
    pretending("aarch64", "glibc 2.36")
    wrong = board.folder / "no program"
    wrong.write_bytes(b"\x7fELF and nothing else")
    wrong.chmod(0o755)
    monkeypatch.setattr("profilers.devices.native_remote.build_runner", lambda *_: wrong)
    monkeypatch.setattr("profilers.devices.native_remote.runtime_library", lambda *_: wrong)
    with pytest.raises(RunnerUnavailable, match=r"cannot be run on device 'board': .*glibc 2\.28"):
        open_worker(board.device, RuntimeOptions(), cache=cache)
