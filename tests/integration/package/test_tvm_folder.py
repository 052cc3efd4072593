"""Packages for TVM: code that no check runs unasked, and three ways to call it."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from resealed import reseal
from transformers import BertTokenizer

import device_profiles
import profilers
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.cli import main
from nasc.errors import CodeRefused, PackageError
from nasc.evaluation.parity_report import parity_from_dict
from nasc.lowering import Artifact, get_lowering
from nasc.networks.network import random_network
from nasc.package.build import build_package
from nasc.package.conditions import Conditions
from nasc.package.formats import tvm_folder, tvm_runtime_files
from nasc.package.golden import Golden
from nasc.package.manifest import Manifest
from nasc.package.measured_latency import MeasuredLatency
from nasc.package.process import PackageProcess
from nasc.package.records import TeacherRecord, TextRecord
from nasc.package.verify import verify_package
from nasc.package.verify_report import VerifyReport
from nasc.pipelines.bench import bench
from nasc.pipelines.evaluate import evaluate
from nasc.pipelines.kernels import report_kernels
from profilers.runtimes import get_runtime, installed
from profilers.testing import SyntheticMachine

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(not installed("tvm")[0], reason="needs tvm (extra 'tvm')"),
]

GEOMETRY = Geometry(
    layers=2, hidden=64, head_size=32, intermediate=128, vocab_size=100, max_positions=48
)
BLOCKS = (Block(64, ("mha", "ffn")),)
SO, ABOUT = "model.so", "model.json"
PARITY = {
    "kind": "fp32",
    "max_abs_diff": 1e-6,
    "padding_max_abs_diff": 1e-7,
    "lengths": [1, 48],
    "n_texts": 2,
    "share": 0.01,
}


def open_machine(*_: object) -> Any:
    """A session on a machine on which the model takes 5 ms."""
    return SyntheticMachine({"model": 5.0, "reference": 4.0}).open()


def lowered(folder: Path, head: str = "embed", shape: tuple[int, int] | None = None) -> Artifact:
    network = random_network(Architecture(BLOCKS), GEOMETRY, head)
    return get_lowering("tvm").lower(network, folder, shape=shape)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return lowered(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def manifest(made: Artifact) -> Manifest:
    """Its manifest, measured on the made-up machine."""
    inputs = {
        "input_ids": profilers.InputSpec((1, 16), "int64", 0, 100),
        "attention_mask": profilers.InputSpec((1, 16), "int64", 1, 2),
    }
    job = profilers.ModelJob("model", made.path, inputs)
    host = device_profiles.find("host")
    options = profilers.RuntimeOptions("tvm", cores=host.default_cores)
    measurement = profilers.measure([job], host, options=options, opener=open_machine)
    return Manifest(
        architecture=Architecture(BLOCKS),
        geometry=GEOMETRY,
        head="embed",
        max_length=40,
        limits={"latency_ms": 6.0, "size_bytes": 5_000_000},
        conditions=Conditions("host", "tvm", 1, 16, 1, measurement.statistic),
        teacher=TeacherRecord("tiny", "0" * 64, "made up"),
        text=TextRecord("no text", "1" * 64),
        measured=MeasuredLatency.of(job, measurement),
        parity=parity_from_dict(PARITY),
    )


@pytest.fixture(scope="module")
def packed(
    tmp_path_factory: pytest.TempPathFactory,
    made: Artifact,
    manifest: Manifest,
    tokenizer: BertTokenizer,
) -> Path:
    """A package; tests must not change it."""
    folder = tmp_path_factory.mktemp("packed") / "package"
    return build_package(folder, model=made, tokenizer=tokenizer, manifest=manifest)


@pytest.fixture
def package(packed: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copytree(packed, tmp_path / "package"))


def details(report: VerifyReport, ok: bool | None) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if check.ok is ok}


def seal(folder: Path, **description: Any) -> None:
    """Make all hashes right again, as a forger would, with other words in the description."""
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    about["library_sha256"] = hashlib.sha256((folder / SO).read_bytes()).hexdigest()
    (folder / ABOUT).write_text(json.dumps(about | description), encoding="utf-8")
    size = sum((folder / name).stat().st_size for name in (SO, ABOUT))
    reseal(folder, size_bytes=size)


def compiler() -> str:
    """The command that compiles C; with ``c++`` for ``cc``, C++. Ziglang first builds libraries."""
    if shutil.which("cc") and shutil.which("c++"):
        return "cc"
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs a C compiler or ziglang")
    return f"{shlex.quote(sys.executable)} -m ziglang cc"


def built(folder: Path) -> dict[str, Path]:
    """Both examples of a folder, by the lines of the README."""
    text = tvm_folder.other_languages(SimpleNamespace())  # type: ignore[arg-type]
    lines = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)[0].splitlines()[:-1]
    assert len(lines) == 3
    of = {"cc": compiler(), "c++": compiler().removesuffix("cc") + "c++"}
    for line in lines:
        name, _, rest = line.partition(" ")
        command = f"{of[name]} -Wall -Wextra -Werror {rest}"
        done = subprocess.run(
            ["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return {name: folder.parent / name for name in ("example_c", "example_cpp")}


def printed(program: Path, ids: list[int], folder: Path) -> np.ndarray:
    words = [str(program), str(folder), *map(str, ids)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return np.array(done.stdout.split(), np.float64)


def called(folder: Path, code: str) -> Any:
    """What lines of Python print as JSON, run in a folder where no TVM can be imported."""
    before = "import sys\nclass No:\n"
    before += "    def find_spec(self, name, *_):\n"
    before += "        assert not name.startswith('tvm'), name\nsys.meta_path.insert(0, No())\n"
    done = subprocess.run(
        [sys.executable, "-c", before + code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_package_verifies_once_its_code_may_run(packed: Path, tmp_path: Path) -> None:
    report = verify_package(packed, opener=open_machine, cache=tmp_path, run_code=True)
    assert report.ok, [str(check) for check in report.checks if not check.ok]
    assert "valid TVM library" in details(report, True)["model"]
    largest = max(path.stat().st_size for path in packed.rglob("*") if path.is_file())
    assert largest < 4_000_000  # none of it is the compiler


def test_without_being_asked_no_code_runs(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr(PackageProcess, "encoder", opened)
    report = verify_package(packed, opener=opened, cache=tmp_path)
    assert (report.exit_code, details(report, False)) == (3, {})
    left = details(report, None)
    assert left.keys() == {"golden vectors", "latency"}
    assert all("give --run-code" in reason for reason in left.values())
    report = verify_package(packed, measure=False)
    assert report.exit_code == 3
    assert [check.name for check in report.not_checked] == ["golden vectors"]
    rows = tmp_path / "dev.tsv"
    rows.write_text("sentence1\tsentence2\tscore\na\tb\t1\nc\td\t2\ne\tf\t3\n", encoding="utf-8")
    with pytest.raises(CodeRefused, match=r"nothing of .* was scored: model.so is code"):
        evaluate(packed, "sts-b", rows)
    with pytest.raises(CodeRefused, match=r"nothing was measured: .*model.so' is code"):
        bench([packed / SO], {"batch": 1}, opener=opened)
    with pytest.raises(CodeRefused, match=r"nothing of .* was run: model.so is code"):
        report_kernels(packed)


def test_commands_say_so_by_their_exit_status(packed: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["verify", str(packed), "--no-measure"])
    assert run.exit_code == 3
    assert "not checked  golden vectors: model.so is code" in run.stdout
    run = CliRunner().invoke(main, ["verify", str(packed), "--no-measure", "--run-code"])
    assert run.exit_code == 0, run.output
    run = CliRunner().invoke(main, ["bench", str(packed / SO), "--cache", str(tmp_path)])
    assert run.exit_code == 3
    assert "--run-code" in run.stderr
    rows = tmp_path / "dev.tsv"
    rows.write_text("sentence1\tsentence2\tscore\na\tb\t1\nc\td\t2\ne\tf\t3\n", encoding="utf-8")
    words = ["evaluate", str(packed), "--task", "sts-b", "--data", str(rows)]
    run = CliRunner().invoke(main, words)
    assert run.exit_code == 3
    assert "--run-code" in run.stderr
    run = CliRunner().invoke(main, [*words, "--run-code"])
    assert run.exit_code == 0, run.output
    assert "spearman" in run.stdout


def test_the_lines_of_the_readme_give_the_golden_vectors(packed: Path) -> None:
    text = (packed / "README.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    golden = Golden.read(packed / "golden.json")
    texts = f"texts = {[one.text for one in golden.texts]!r}"
    code = re.sub("texts = .*", lambda _: texts, code)
    code += "import json; print(json.dumps([vectors.tolist(), encoder.encode(texts).tolist()]))"
    for vectors in called(packed, code):
        wanted = np.array([one.vector for one in golden.texts])
        assert np.abs(np.array(vectors) - wanted).max() < golden.tolerance
    assert not (packed / "__pycache__").exists()


def test_the_examples_in_c_give_the_golden_vectors(package: Path, tmp_path: Path) -> None:
    golden = Golden.read(package / "golden.json")
    programs = built(package)
    assert verify_package(package, measure=False).exit_code == 3  # nothing came into the folder
    for program in programs.values():
        for one in golden.texts:
            found = printed(program, list(one.input_ids), package)
            assert np.abs(found - np.array(one.vector)).max() < golden.tolerance
        for arguments, message in (
            ([package, *["1"] * 49], "1 texts of 49 tokens: it takes texts of 1 to 48"),
            ([package, "100"], "100 is no token: they are from 0 to 99"),
            ([tmp_path, "1"], "libtvm_runtime.so: cannot open"),
        ):
            words = [str(program), *map(str, arguments)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert message in done.stderr


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        ("hidden", None),
        ("spans", None),
        ("classify-2", (1, 6)),
        ("hidden", (2, 6)),
    ],
)
def test_every_head_and_shape_is_called_right(
    head: str, shape: tuple[int, int] | None, manifest: Manifest, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    made = lowered(folder, head, shape)
    assert tvm_folder.inspect(made.path).unexpected == ()
    tvm_folder.write_more(folder, manifest)
    rng = np.random.default_rng(0)
    batch, length = shape or (3, 7)
    ids = rng.integers(0, 100, (batch, length))
    mask = (np.arange(length)[None] < rng.integers(1, length + 1, (batch, 1))).astype(np.int64)
    session = get_runtime("tvm").open_session(made.path, profilers.RuntimeOptions("tvm"))
    wanted = session.outputs({"input_ids": ids, "attention_mask": mask})[0]
    with pytest.raises(profilers.ModelRejected, match="'attention_mask' holds something else"):
        session.outputs({"input_ids": ids, "attention_mask": 2 * mask})
    code = f"""
import json, numpy as np
from encoder import Encoder
ids, mask = np.array({ids.tolist()}), np.array({mask.tolist()})
try:
    Encoder(".").run(ids, 2 * mask)
except ValueError as error:
    assert "the mask holds something else than 0 and 1" in str(error)
else:
    raise AssertionError("a mask of 2 is taken")
print(json.dumps(Encoder(".").run(ids, mask)[0].tolist()))
"""
    assert np.abs(np.array(called(folder, code)) - wanted).max() < 1e-5
    flat = ", ".join(map(str, [*ids.ravel(), *mask.ravel()]))
    (folder / "example.c").write_text(
        f"""
#include <stdio.h>
#include "encoder.h"
static const int64_t values[] = {{{flat}}};
static float output[{wanted.size}];
int main(int argc, char **argv) {{
  nasc_encoder *encoder = nasc_encoder_open(argv[argc - 2], 1);
  if (nasc_encoder_numbers({batch}, {length}) != {wanted.size}) return 2;
  if (nasc_encoder_run(encoder, values, values + {batch * length}, {batch}, {length}, output)) {{
    return 3;
  }}
  if (nasc_encoder_run(encoder, values, values, {batch}, {length}, output) == 0) return 4;
  for (int i = 0; i < {wanted.size}; i++) printf("%.9g\\n", output[i]);
  nasc_encoder_close(encoder);
  return 0;
}}
"""
    )
    found = printed(built(folder)["example_c"], [0], folder)
    assert np.abs(found - wanted.ravel()).max() < 1e-5


def test_a_package_of_one_shape_verifies(
    manifest: Manifest, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    made = lowered(tmp_path, shape=(1, 16))
    conditions = dataclasses.replace(manifest.conditions, fixed_shape=True)
    changes = {"conditions": conditions, "measured": None, "limits": {}, "max_length": 16}
    folder = build_package(
        tmp_path / "package",
        model=made,
        tokenizer=tokenizer,
        manifest=dataclasses.replace(manifest, **changes),
    )
    report = verify_package(folder, measure=False, run_code=True)
    assert details(report, False) == {}
    assert "largest difference" in details(report, True)["golden vectors"]
    assert "padding(length=16)" in (folder / "README.md").read_text()


def test_a_damaged_library_is_not_opened(package: Path) -> None:
    data = bytearray((package / SO).read_bytes())
    data[len(data) // 2] ^= 1
    (package / SO).write_bytes(data)
    report = verify_package(package, measure=False, run_code=True)
    assert "model.so was changed" in details(report, False)["files"]
    assert "nothing of a package is opened" in details(report, None)["golden vectors"]
    about = json.loads((package / ABOUT).read_text())
    seal(package)
    (package / ABOUT).write_text(json.dumps(about))
    with pytest.raises(ValueError, match="not the library that its description was made with"):
        tvm_folder.inspect(package / SO)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("libtvm_runtime.so", "libtvm_runtime.so is not that of apache-tvm 0.27.0.post1 for"),
        ("tvm-ffi/c_api.h", "c_api.h is not that of apache-tvm-ffi 0.1.14.post0"),
        ("encoder.py", "encoder.py is not as nasc writes it"),
        ("model.h", "model.h does not say what model.json says"),
    ],
)
def test_what_lies_beside_is_ours_byte_for_byte(package: Path, name: str, message: str) -> None:
    (package / name).write_bytes((package / name).read_bytes() + b"\n")
    seal(package)
    report = verify_package(package, measure=False, run_code=True)
    assert message in details(report, False)["files beside the model"]
    assert "only a model that passes" in details(report, None)["golden vectors"]
    (package / name).unlink()
    seal(package)
    report = verify_package(package, measure=False, run_code=True)
    assert f"{name} is missing" in details(report, False)["files"]


def test_code_for_another_processor_is_not_checked_here(package: Path) -> None:
    about = json.loads((package / ABOUT).read_text())
    seal(package, flags=[*about["flags"], "avx999"])
    report = verify_package(package, measure=False, run_code=True)
    assert details(report, False).keys() == {"README", "measurement"}  # of the file as it was
    assert "this one is" in details(report, None)["golden vectors"]
    data = bytearray((package / SO).read_bytes())
    data[18] = 183 if data[18] == 62 else 62  # e_machine
    (package / SO).write_bytes(data)
    seal(package)
    report = verify_package(package, measure=False, run_code=True)
    assert re.search(r"code for \w+ that is described as for", details(report, False)["model"])


@pytest.mark.parametrize("run_code", [False, True])
def test_a_library_that_acts_when_it_is_opened_is_found_and_not_opened(
    package: Path, tmp_path: Path, run_code: bool
) -> None:
    trace = tmp_path / "it-ran"
    source = tmp_path / "evil.c"
    source.write_text(
        "#include <fcntl.h>\n__attribute__((constructor)) static void run(void) "
        f'{{ creat("{trace}", 0600); }}\n'
    )
    command = [
        *shlex.split(compiler()),
        "-O2",
        "-shared",
        "-fPIC",
        "-Wl,--hash-style=both",
        str(source),
    ]
    subprocess.run([*command, "-o", str(package / SO)], check=True, capture_output=True)
    seal(package)
    report = verify_package(package, measure=False, run_code=run_code)
    assert report.exit_code == 1
    found = details(report, False)["model"]
    assert "in its dynamic section" in found
    assert "from other libraries" in found
    assert "it holds no network" in found
    assert "only a model that passes" in details(report, None)["golden vectors"]
    assert not trace.exists()


def test_the_description_must_say_what_the_library_holds(package: Path) -> None:
    about = json.loads((package / ABOUT).read_text())
    functions = about["functions"]
    for changed, message in (
        ({"functions": [{"name": "run_9x9", "batch": 1, "seq_len": 9}]}, "no function 'run_9x9'"),
        ({"functions": functions[::-1]}, "by ascending length"),
        ({"functions": []}, "FileRefused|functions"),
        ({"tokens": 99}, "99 tokens, the manifest 100"),
    ):
        seal(package, **changed)
        report = verify_package(package, measure=False, run_code=True)
        assert re.search(message, "; ".join(details(report, False).values()))
        seal(package, **about)


def test_without_tvm_nothing_is_written(
    made: Artifact,
    manifest: Manifest,
    tokenizer: BertTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    assert "known for x86_64 and aarch64 only" in tvm_folder.refusal("riscv64")
    here = json.loads(made.companions[0].read_text())["arch"]
    other = next(arch for arch in tvm_runtime_files.ARCHITECTURES if arch != here)
    assert tvm_folder.refusal(here) == ""
    assert f"installed here is for {here}, the package needs" in tvm_folder.refusal(other)
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert "apache-tvm is not installed. Install both: python -m pip" in tvm_folder.refusal(here)
    with pytest.raises(PackageError, match="apache-tvm is not installed"):
        build_package(tmp_path / "p", model=made, tokenizer=tokenizer, manifest=manifest)
    assert not (tmp_path / "p").exists()


def test_where_tvm_is_not_installed_the_rest_is_checked(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tvm.py").write_text("raise ModuleNotFoundError(\"No module 'tvm'\")")
    paths = [str(tmp_path), *filter(None, sys.path)]
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))
    report = verify_package(packed, measure=False, run_code=True)
    assert (report.exit_code, details(report, False)) == (3, {})
    assert "Install it: python -m pip install" in details(report, None)["golden vectors"]
    assert "valid TVM library" in details(report, True)["model"]
