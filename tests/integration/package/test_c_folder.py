"""C libraries, built and run: on this machine, with sanitizers, and for arm64 under qemu."""

from __future__ import annotations

import ctypes
import dataclasses
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nasc.architecture.heads import gives_states
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.errors import PackageError, UsageError
from nasc.evaluation.encoder import Encoder
from nasc.lowering import get_lowering
from nasc.networks.network import Network, random_network
from nasc.networks.torch_network import TorchNetwork

pytest.importorskip("tvm")
pytest.importorskip("ziglang")

from tvm_ffi import structural_equal

from nasc.export.onnx import build as build_onnx
from nasc.lowering.static.compile import compile_static
from nasc.lowering.static.program import StaticNetwork
from nasc.lowering.tuning.kernels import find_kernels
from nasc.lowering.tuning.loop import LoopOptions, tune_kernels
from nasc.lowering.tuning.records import RecordsKey, best_records, open_for_tuning
from nasc.lowering.tuning.trials import Trial
from nasc.lowering.tvm_module import fused_module, target_of
from nasc.package.formats.c_folder import COMPILED, COPIED, DEMO, SOURCES, renamed, write_c_folder
from profilers.runner.targets import get_target
from profilers.runtimes.tvm_schedules import schedule

CC = shutil.which("gcc") or shutil.which("clang")
QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")

ARM_ROOT = Path("/usr/aarch64-linux-gnu")

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(CC is None, reason="needs gcc or clang"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="its library is for x86-64"),
]

GEOMETRY = Geometry(
    layers=2, hidden=32, head_size=8, intermediate=64, vocab_size=50, max_positions=24
)
LENGTHS = (16, 24)
PROCESSORS = {
    "x86_64": {"arch": "x86_64", "flags": ["avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"]},
    "aarch64": {"arch": "aarch64", "flags": ["asimd", "fp"]},
}
TOLERANCE = 1e-5
"""Ten times nearer than what is promised, 1e-4."""

FLAGS = (
    *("-std=c11", "-D_GNU_SOURCE", "-pthread"),
    *("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"),
)
SANITIZERS = {
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g"),
    "thread": ("-fsanitize=thread", "-O1", "-g"),
}
SHARED = ("-O1", "-fPIC", "-shared", "-Wl,-z,defs")
DRIVER = Path(__file__).with_name("c_driver.c")

OK, NO_FILE, DAMAGED, OTHER_NETWORK, WRONG_PROCESSOR = 0, -9, -10, -11, -12
ARM_FEATURES = {"fp", "asimd", "asimdhp", "asimddp", "i8mm", "bf16"}


def made(head: str = "embed", seed: int = 0) -> Network:
    blocks = (Block(16, ("mha", "ffn", "sep3")),)
    return random_network(Architecture(blocks), GEOMETRY, head, seed)


def compiled(
    network: Network,
    arch: str = "x86_64",
    prefix: str = "nasc",
    lengths: Sequence[int] = LENGTHS,
) -> StaticNetwork:
    processor = PROCESSORS[arch]
    return compile_static(network, prefix=prefix, lengths=lengths, processor=processor)


@pytest.fixture(scope="module")
def native() -> StaticNetwork:
    return compiled(made())


@pytest.fixture(scope="module")
def folder(native: StaticNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library for both processors."""
    found = tmp_path_factory.mktemp("c")
    write_c_folder([native, compiled(made(), "aarch64")], found)
    return found


def parts(folder: Path, arch: str = "x86_64", prefix: str = "nasc") -> list[str]:
    """What the library is compiled of."""
    own = folder / arch
    sources = [str(folder / renamed(name, prefix)) for name in COMPILED]
    return [*sources, str(own / f"{prefix}_network.c"), str(own / "kernels.o"), f"-I{folder}"]


def build(output: Path, *arguments: object, compiler: Sequence[str] = (CC or "cc",)) -> Path:
    command = [*compiler, *FLAGS, *map(str, arguments), "-lm", "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return output


class Library:
    """Calls of a library by Python."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        self.c.nasc_error_text.restype = ctypes.c_char_p
        self.c.nasc_output_floats.restype = ctypes.c_size_t

    def open(self, weights: Path) -> int:
        """The code that opening a weights file gives; what was opened is closed."""
        model = ctypes.c_void_p()
        code = self.c.nasc_model_open(str(weights).encode(), ctypes.byref(model))
        assert (model.value is not None) == (code == OK)
        self.c.nasc_model_close(model)
        return int(code)

    def encode(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        batch, length = ids.shape
        out = np.full((batch, self.c.nasc_output_floats(length)), np.nan, np.float32)
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (ids, mask, out)]
        assert self.c.nasc_encode(*pointers[:2], batch, length, pointers[2]) == OK
        return out


@pytest.fixture(scope="module")
def library(folder: Path) -> Library:
    # -nodefaultlibs and -z defs: a symbol that is not the C library's (or libm's) is an error.
    shared = build(
        folder / "libnasc.so",
        *("-O2", "-fPIC", "-shared", "-Wl,-z,defs", "-nodefaultlibs"),
        *(*parts(folder), "-lc", "-lpthread"),
    )
    return Library(shared)


@pytest.fixture
def opened(library: Library, folder: Path) -> Library:
    assert library.c.nasc_init(str(folder / "x86_64/weights.bin").encode(), 1, 2) == OK
    yield library  # type: ignore[misc]
    library.c.nasc_quit()


def inputs(batch: int, length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, GEOMETRY.vocab_size, (batch, length))
    sizes = rng.integers(1, length + 1, batch)
    sizes[0] = length
    return ids, (np.arange(length) < sizes[:, None]).astype(np.int64)


def expected(network: Network, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    found: np.ndarray = (
        TorchNetwork(network)(torch.tensor(ids), torch.tensor(mask)).detach().numpy()
    )
    return found


@pytest.mark.parametrize("threads", [1, 3])
def test_vectors_of_every_length_are_those_of_torch(
    library: Library, folder: Path, threads: int
) -> None:
    assert library.c.nasc_max_length() == 24
    assert library.c.nasc_tokens() == 50
    assert library.c.nasc_init(str(folder / "x86_64/weights.bin").encode(), threads, 1) == OK
    try:
        for length in range(1, 25):
            for batch in (1, 2, 5):
                ids, mask = inputs(batch, length, length)
                found = library.encode(ids, mask)
                wanted = expected(made(), ids, mask)
                np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)
    finally:
        library.c.nasc_quit()


def test_a_neighbour_a_padding_and_a_thread_move_no_bit(library: Library, folder: Path) -> None:
    ids, mask = inputs(7, 20)
    seen = []
    for threads in (1, 2, 3, 8):
        assert library.c.nasc_init(str(folder / "x86_64/weights.bin").encode(), threads, 1) == OK
        seen.append(library.encode(ids, mask))
        for row in range(len(ids)):
            size = int(mask[row].sum())
            alone = [np.ascontiguousarray(a[row : row + 1, :size]) for a in (ids, mask)]
            seen.append(seen[0].copy())
            seen[-1][row] = library.encode(*alone)[0]
        library.c.nasc_quit()
    assert all(np.array_equal(one, seen[0]) for one in seen)


def test_several_threads_call_at_once(opened: Library) -> None:
    texts = [inputs(n % 3 + 1, n + 1, n) for n in range(24)]
    wanted = [opened.encode(*text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            found = list(pool.map(lambda text: opened.encode(*text), texts))
            assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_int8_gives_what_tvm_gives(tmp_path: Path) -> None:
    """The kernels of TVM's int8, run without TVM: the same vectors, whatever the threads."""
    geometry = dataclasses.replace(GEOMETRY, hidden=64, head_size=32, intermediate=128)
    blocks = (Block(32, ("mha", "ffn", "sep3")),)
    network = random_network(Architecture(blocks, "int8"), geometry)
    artifact = get_lowering("tvm").lower(network, tmp_path, lengths=LENGTHS)
    encoder = Encoder(artifact.path, runtime="tvm")
    write_c_folder([compile_static(network, lengths=LENGTHS)], tmp_path)
    library = Library(build(tmp_path / "libnasc.so", *SHARED, *parts(tmp_path)))
    for threads in (1, 3):
        assert library.c.nasc_init(str(tmp_path / "x86_64/weights.bin").encode(), threads, 1) == OK
        for length in (1, 16, 24):
            ids, mask = inputs(4, length, length)
            wanted = encoder.run(ids, mask)
            np.testing.assert_allclose(library.encode(ids, mask), wanted, rtol=0, atol=TOLERANCE)
        library.c.nasc_quit()


@pytest.mark.parametrize("head", ["hidden-cls", "spans", "classify-3", "embed-dense8tanh-first4"])
def test_heads_of_other_shapes(tmp_path: Path, head: str) -> None:
    network = made(head)
    write_c_folder([compiled(network, lengths=LENGTHS[-1:])], tmp_path)
    shared = build(tmp_path / "libnasc.so", *SHARED, *parts(tmp_path))
    library = Library(shared)
    for threads, batch, length in ((1, 1, 16), (2, 3, 7), (2, 1, 24)):
        assert library.c.nasc_init(str(tmp_path / "x86_64/weights.bin").encode(), threads, 1) == OK
        ids, mask = inputs(batch, length)
        wanted = expected(network, ids, mask)
        found = library.encode(ids, mask).reshape(wanted.shape)
        if gives_states(head) or head == "spans":
            real = mask[:, :, None] if gives_states(head) else mask[:, None, :]
            wanted, found = wanted * real, found * real
        np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)
        library.c.nasc_quit()


def test_tuned_kernels_run_too(tmp_path: Path) -> None:
    """Of random schedules, as tuning tries them: with several loops, and memory to work with."""
    processor = PROCESSORS["x86_64"]
    target = target_of(processor["flags"], "x86_64")
    fused = fused_module({"run": build_onnx(made(), shape=(1, 24))}, target)
    tasks = [t for t in find_kernels([fused], target).tasks if re.search("gelu|softmax", t.name)]
    assert len(tasks) == 2
    without = [schedule(task.module, target) for task in tasks]

    def measure(modules: Any, *_: Any) -> Any:
        slow = [any(structural_equal(module, one) for one in without) for module in modules]
        return [Trial(1.0 if one else 0.1, None) for one in slow]

    folder, key = tmp_path / "records", RecordsKey.of("board", "cpu", target)
    folder.mkdir()
    with open_for_tuning(folder, key) as kept:
        tune_kernels(
            *(tasks, kept, target, measure),
            LoopOptions(60.0, round_trials=2, population=4, max_trials=2),
            *(lambda *_: None, lambda: 0.0),
        )
    records = best_records(folder, key)
    network = compile_static(made(), lengths=[24], processor=processor, records=records)
    plain = compile_static(made(), lengths=[24], processor=processor)
    assert network.code != plain.code
    write_c_folder([network], tmp_path)
    shared = build(tmp_path / "libnasc.so", *SHARED, *parts(tmp_path))
    library = Library(shared)
    ids, mask = inputs(2, 20)
    for threads in (1, 3):
        assert library.c.nasc_init(str(tmp_path / "x86_64/weights.bin").encode(), threads, 1) == OK
        found = library.encode(ids, mask)
        np.testing.assert_allclose(found, expected(made(), ids, mask), rtol=0, atol=TOLERANCE)
        library.c.nasc_quit()


def test_a_damaged_weights_file_is_refused(
    library: Library, native: StaticNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "weights.bin"
    content = native.weights
    for size in (0, 1, 63, 64, 65, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        assert library.open(path) == DAMAGED, size
    path.write_bytes(content + b"\0")
    assert library.open(path) == DAMAGED
    rng = np.random.default_rng(0)
    for at in (*range(64), *rng.integers(64, len(content), 40)):
        changed = bytearray(content)
        changed[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        wanted = OTHER_NETWORK if 24 <= at < 56 else DAMAGED
        assert library.open(path) == wanted, at
    path.write_bytes(content)
    assert library.open(path) == OK


def test_other_files_are_refused(
    library: Library, native: StaticNetwork, tmp_path: Path, folder: Path
) -> None:
    assert library.open(tmp_path / "missing") == NO_FILE
    assert library.open(tmp_path) == NO_FILE
    assert library.open(Path("/dev/zero")) == NO_FILE
    assert library.open(folder / "aarch64/weights.bin") == OTHER_NETWORK
    same = compiled(dataclasses.replace(made(), layer_norm_eps=1e-6))
    assert len(same.weights) == len(native.weights)
    (tmp_path / "other.bin").write_bytes(same.weights)
    assert library.open(tmp_path / "other.bin") == OTHER_NETWORK


def test_the_processor_is_asked(library: Library, native: StaticNetwork, tmp_path: Path) -> None:
    known = set(Path("/proc/cpuinfo").read_text().split())
    for name in re.findall(r'\{"(\w+)", \d', (SOURCES / "nasc_cpu.c").read_text()):
        if name not in ARM_FEATURES:
            assert library.c.nasc_cpu_has(names(name)) == (name in known), name
    assert library.c.nasc_cpu_has(names()) == 1
    assert library.c.nasc_cpu_has(names("avx2", "made_up")) == 0
    wrong = dataclasses.replace(native, features=("made_up",))
    write_c_folder([wrong], tmp_path)
    shared = build(tmp_path / "libnasc.so", *SHARED, *parts(tmp_path))
    assert Library(shared).open(tmp_path / "x86_64/weights.bin") == WRONG_PROCESSOR


def names(*given: str) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * (len(given) + 1))(*(name.encode() for name in given), None)


def test_every_code_is_told_in_words(library: Library) -> None:
    texts = [library.c.nasc_error_text(code) for code in range(0, -14, -1)]
    assert len(set(texts)) == 14
    assert b"an unknown error" not in texts
    assert library.c.nasc_error_text(-99) == library.c.nasc_error_text(1) == b"an unknown error"


def driver(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    program = folder / f"driver{len(flags)}"
    build(program, *flags, DRIVER, *parts(folder), "-Wl,--wrap=malloc")
    command = [str(program), str(folder / "x86_64/weights.bin")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_driver_finds_nothing_wrong(folder: Path) -> None:
    done = driver(folder, "-O2")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def sanitizer(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """Flags of a sanitizer; skips where there is none."""

    def flags(name: str) -> tuple[str, ...]:
        (tmp_path / "probe.c").write_text("int main(void) { return 0; }\n")
        command = [str(CC), *SANITIZERS[name], str(tmp_path / "probe.c"), "-o", str(tmp_path / "p")]
        built = subprocess.run(command, capture_output=True, check=False).returncode == 0
        if not built or subprocess.run([tmp_path / "p"], capture_output=True).returncode:
            pytest.skip(f"{CC} has no sanitizer of {name} that runs here")
        return SANITIZERS[name]

    return flags


@pytest.mark.parametrize("name", SANITIZERS)
def test_sanitizers_find_nothing(
    folder: Path, sanitizer: Callable[[str], tuple[str, ...]], name: str
) -> None:
    done = driver(folder, *sanitizer(name))
    assert (done.returncode, done.stderr) == (0, "")


LINES = "1 2 3\n4\t5  6 7\n" + " ".join(["9"] * 24) + "\n8"
TEXTS = [[int(word) for word in line.split()] for line in LINES.splitlines()]


def embedded(command: Sequence[object], lines: str = LINES) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), input=lines, capture_output=True, text=True, check=False
    )


def check_embedded(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stderr) == (0, "")
    found = [np.array(line.split(), np.float32) for line in done.stdout.splitlines()]
    assert len(found) == len(TEXTS)
    for vector, text in zip(found, TEXTS, strict=True):
        ids = np.array([text])
        wanted = expected(made(), ids, np.ones_like(ids))[0]
        np.testing.assert_allclose(vector, wanted, rtol=0, atol=TOLERANCE)


def test_the_demonstration_with_sanitizers(
    folder: Path, sanitizer: Callable[[str], tuple[str, ...]], native: StaticNetwork
) -> None:
    program = build(folder / "embed", *sanitizer("address"), folder / DEMO, *parts(folder))
    weights = folder / "x86_64/weights.bin"
    check_embedded(embedded([program, weights]))
    check_embedded(embedded([program, weights, 3]))
    for lines, why in (
        ("1 2 x\n", "line 1: not a number"),
        ("1\n" + "9" * 25 + "\n", "line 2: not a number"),
        ("1 99999999999999999999\n", "line 1: not a number"),
        (" ".join(["1"] * 25), "line 1: a text has no tokens, or more than fit"),
        ("1\n\n", "line 2: a text has no tokens"),
        ("50\n", "line 1: an id is no token"),
        ("-1\n", "line 1: an id is no token"),
    ):
        done = embedded([program, weights], lines)
        assert done.returncode == 1
        assert done.stderr.startswith(why)
    assert embedded([program, folder / "nothing"]).returncode == 1
    for arguments in ([], [weights, 0], [weights, "x"], [weights, 1, 1]):
        assert embedded([program, *arguments]).returncode == 2
    cut = folder / "cut.bin"
    cut.write_bytes(native.weights[:-64])
    assert "damaged or cut short" in embedded([program, cut]).stderr


@pytest.mark.skipif(QEMU is None, reason="needs qemu-aarch64 (Debian: qemu-user-static)")
@pytest.mark.skipif(not ARM_ROOT.is_dir(), reason="needs Debian's libc6-arm64-cross")
def test_arm64_gives_the_same_vectors(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "zig"))
    target = get_target("aarch64-linux").triple
    program = build(
        *(tmp_path / "embed", "-O2", folder / DEMO),
        *parts(folder, "aarch64"),
        compiler=[sys.executable, "-m", "ziglang", "cc", "-target", target],
    )
    assert program.read_bytes()[18:20] == b"\xb7\0"
    weights = folder / "aarch64/weights.bin"
    run = [QEMU, "-L", ARM_ROOT, program]
    check_embedded(embedded([*run, weights]))
    check_embedded(embedded([*run, weights, 2]))
    done = embedded([*run, folder / "x86_64/weights.bin"])
    assert (done.returncode, "of another network" in done.stderr) == (1, True)


PAIR = """
#include <stdio.h>
#include "nasc.h"
#include "nasc_two.h"

int main(int count, char **arguments) {
  const int64_t ids[] = {1, 2, 3}, mask[] = {1, 1, 1};
  float out[2 * 32];
  if (count != 3 || nasc_init(arguments[1], 1, 1) || nasc_two_init(arguments[2], 1, 1) ||
      nasc_encode(ids, mask, 1, 3, out) || nasc_two_encode(ids, mask, 1, 3, out + 32)) {
    return 1;
  }
  for (int i = 0; i < 64; i++) {
    printf("%.9g\\n", (double)out[i]);
  }
  nasc_quit();
  nasc_two_quit();
}
"""


def test_two_libraries_in_one_program(folder: Path, tmp_path: Path) -> None:
    other = made(seed=1)
    second = compiled(other, prefix="nasc_two", lengths=LENGTHS[-1:])
    write_c_folder([second], tmp_path)
    source = tmp_path / "pair.c"
    source.write_text(PAIR)
    libraries = [*parts(folder), *parts(tmp_path, prefix="nasc_two")]
    program = build(tmp_path / "pair", "-O1", source, *libraries)
    weights = [one / "x86_64/weights.bin" for one in (folder, tmp_path)]
    done = embedded([program, *weights])
    assert done.returncode == 0
    ids = np.array([[1, 2, 3]])
    wanted = [expected(network, ids, np.ones_like(ids))[0] for network in (made(), other)]
    found = np.array(done.stdout.split(), np.float32)
    np.testing.assert_allclose(found, np.concatenate(wanted), rtol=0, atol=TOLERANCE)


APP = """
cmake_minimum_required(VERSION 3.16)
project(app C)
add_subdirectory("{folder}" nasc)
add_executable(app app.c)
target_link_libraries(app PRIVATE nasc)
"""


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
@pytest.mark.parametrize("linked", ["ON", "OFF"])
def test_cmake_builds_it_within_another_project(folder: Path, tmp_path: Path, linked: str) -> None:
    (tmp_path / "CMakeLists.txt").write_text(APP.format(folder=folder))
    shutil.copy(folder / DEMO, tmp_path / "app.c")
    for arguments in (
        ["-S", tmp_path, "-B", tmp_path / "build", f"-DNASC_LINK_WEIGHTS={linked}"],
        ["--build", tmp_path / "build"],
    ):
        done = embedded(["cmake", *arguments])
        assert done.returncode == 0, done.stderr
    program = tmp_path / "build/app"
    if linked == "ON":
        check_embedded(embedded([program, "-"]))
    else:
        assert "the weights file cannot be read" in embedded([program, "-"]).stderr
    check_embedded(embedded([program, folder / "x86_64/weights.bin"]))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_same_network_gives_the_same_bytes(native: StaticNetwork, tmp_path: Path) -> None:
    again = compiled(made())
    assert again == native
    for name in "ab":
        write_c_folder([native], tmp_path / name)
    first, second = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in files(tmp_path / name)}
        for name in "ab"
    )
    assert first == second
    assert len(first) == len(COPIED) + 3


def test_what_makes_no_library_is_refused(native: StaticNetwork, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="once for each processor"):
        write_c_folder([native, native], tmp_path / "c")
    with pytest.raises(PackageError, match="given: none"):
        write_c_folder([], tmp_path / "c")
    other = dataclasses.replace(native, arch="aarch64", prefix="b")
    with pytest.raises(PackageError, match="x86_64 with nasc, aarch64 with b"):
        write_c_folder([native, other], tmp_path / "c")
    (tmp_path / "file").write_text("")
    with pytest.raises(PackageError, match="cannot be written to"):
        write_c_folder([native], tmp_path / "file")
    for prefix in ("", "Nasc", "1a", "a-b", "a" * 32, "a\n"):
        with pytest.raises(UsageError, match="cannot be the prefix"):
            compiled(made(), prefix=prefix)
    with pytest.raises(UsageError, match="not in 'fp16'"):
        compiled(made().with_precision("fp16"))
    with pytest.raises(UsageError, match="25 tokens: this network takes 1 to 24"):
        compile_static(made(), lengths=(8, 25), processor=PROCESSORS["x86_64"])
    with pytest.raises(UsageError, match="riscv64"):
        compile_static(made(), processor={"arch": "riscv64", "flags": []})


def test_code_of_the_full_size_network_is_small(tmp_path: Path) -> None:
    geometry = Geometry(6, 384, 32, 1536, 30522, 512)
    whole = Architecture((Block(384, ("mha", "ffn") * 6),))
    network = compile_static(random_network(whole, geometry), processor=PROCESSORS["x86_64"])
    write_c_folder([network], tmp_path)
    program = build(tmp_path / "embed", "-O2", "-s", tmp_path / DEMO, *parts(tmp_path))
    assert [one.length for one in network.programs] == [32, 64, 128, 256, 512]
    assert len(network.code) + program.stat().st_size < 1_000_000
    assert len(network.weights) < 4 * random_network(whole, geometry).params + 100_000
