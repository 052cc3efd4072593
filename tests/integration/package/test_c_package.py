"""Packages of C: what is checked without running them, and what is found by running them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from resealed import reseal
from transformers import BertTokenizer

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.errors import ExportError, LimitsMissed, PackageError
from nasc.evaluation.parity_report import ReducedPrecisionReport, parity_from_dict
from nasc.lowering import Artifact
from nasc.networks.network import Network, random_network
from nasc.package.build import build_package
from nasc.package.conditions import Conditions
from nasc.package.formats import c_package
from nasc.package.golden import Golden
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import read_manifest
from nasc.package.records import TeacherRecord, TextRecord
from nasc.package.verify import verify_package
from nasc.package.verify_report import VerifyReport

pytest.importorskip("tvm")
pytest.importorskip("ziglang")

from nasc.evaluation.parity import check_reduced
from nasc.export.matrices import Float
from nasc.export.onnx import build
from nasc.lowering.handwritten.kernels import Heads, Shape, attention
from nasc.lowering.handwritten.number_formats import FORMATS
from nasc.lowering.handwritten.products import PRODUCTS
from nasc.lowering.static.compile import compile_static
from nasc.lowering.static.kernels import handwritten_passes, lower
from nasc.lowering.tvm_module import target_of
from nasc.package import c_program
from nasc.pipelines import c_format
from nasc.pipelines.options import Options
from profilers.context import read_context
from profilers.runtimes.tvm_targets import flags_of_kind, kernel_kind

ARCH = platform.machine()

pytestmark = [
    pytest.mark.usefixtures("shared_process"),
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
    pytest.mark.skipif(ARCH not in c_package.ARCHITECTURES, reason="there is no code for it"),
]

GEOMETRY = Geometry(
    layers=1, hidden=32, head_size=32, intermediate=32, vocab_size=100, max_positions=24
)
NETWORK = random_network(Architecture((Block(32, ("mha",)),)), GEOMETRY)
PARITY = {
    "kind": "fp32",
    "max_abs_diff": 1e-6,
    "padding_max_abs_diff": 1e-7,
    "lengths": [1, 24],
    "n_texts": 2,
    "share": 0.01,
}


def manifest_of(network: Network, runtime: str) -> Manifest:
    """Of a package that nobody measured."""
    return Manifest(
        architecture=network.architecture,
        geometry=GEOMETRY,
        head="embed",
        max_length=24,
        limits={},
        conditions=Conditions("host", runtime, 1, 16, 1, "median"),
        teacher=TeacherRecord("tiny", "0" * 64, "made up"),
        text=TextRecord("no text", "1" * 64),
        parity=parity_from_dict(PARITY),
    )


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizer) -> Path:
    """A package; tests must not change it."""
    place = tmp_path_factory.mktemp("packed")
    network = compile_static(NETWORK, lengths=[24])
    c_package.write_library(network, build(NETWORK), place / "library")
    return build_package(
        place / "package",
        model=place / "library",
        tokenizer=tokenizer,
        manifest=manifest_of(NETWORK, "c"),
        open_encoder=c_format.open_c,
    )


@pytest.fixture
def package(packed: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copytree(packed, tmp_path / "package"))


def seal(folder: Path) -> None:
    """Make all hashes right again, as a forger would."""
    about = json.loads((folder / c_package.MODEL).read_text())
    own = folder / about["arch"]
    digests = {
        name: hashlib.sha256((own / name).read_bytes()).hexdigest() for name in about["files"]
    }
    (folder / c_package.MODEL).write_text(json.dumps(about | {"files": digests}))
    size = (folder / c_package.MODEL).stat().st_size
    reseal(folder, size_bytes=size + sum((own / name).stat().st_size for name in digests))


def verified(folder: Path, run_code: bool = True) -> VerifyReport:
    return verify_package(folder, measure=False, run_code=run_code)


def failed(report: VerifyReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.failed}


def test_it_holds_what_it_says(packed: Path) -> None:
    report = verified(packed)
    assert report.exit_code == 0, report.to_dict()
    report = verified(packed, run_code=False)
    assert [check.name for check in report.not_checked] == ["golden vectors"]
    readme = (packed / "README.md").read_text()
    assert f"nasc_embed_text {ARCH}/weights.bin tokenizer.bin" in readme
    assert "latency of this folder was not measured" in readme


def test_one_changed_byte_of_any_file_is_found(package: Path) -> None:
    for name in (f"{ARCH}/kernels.o", "tokenizer.bin", "nasc.h"):
        content = (package / name).read_bytes()
        (package / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        report = verified(package)
        assert f"{name} was changed" in failed(report)["files"]
        assert "golden vectors" not in {check.name for check in report.checks if check.ok}
        (package / name).write_bytes(content)


def test_what_an_earlier_release_wrote_is_good(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = (package / "nasc_model.c").read_bytes() + b"\n"
    (package / "nasc_model.c").write_bytes(earlier)
    seal(package)
    assert "files beside the model" in failed(verified(package, run_code=False))
    known = {"nasc_model.c": (hashlib.sha256(earlier).hexdigest(),)}
    monkeypatch.setattr(c_package, "EARLIER", known)
    assert "files beside the model" not in failed(verified(package, run_code=False))


@pytest.mark.parametrize(
    "changed",
    [
        {
            "nasc_model.c": ("files beside the model", "nasc_model.c is not as nasc writes it"),
            "tokenizer.bin": ("tokenizer's tables", "tokenizer.bin is not what tokenizer.json"),
            "tokenizer_golden.jsonl": ("tokenizer's tables", "tokenizer_golden.jsonl is not what"),
        },
        {f"{ARCH}/kernels.o": ("model", "that is no object file")},
        {f"{ARCH}/weights.bin": ("golden vectors", "of another network")},
    ],
)
def test_what_was_hashed_anew_is_found_by_what_it_is(
    package: Path, changed: dict[str, tuple[str, str]]
) -> None:
    for name in changed:
        content = bytearray((package / name).read_bytes())
        at = {"kernels.o": 1, "weights.bin": 30}.get(Path(name).name, len(content) - 3)
        content[at] ^= 1
        (package / name).write_bytes(content)
    seal(package)
    found = failed(verified(package))
    for check, why in changed.values():
        assert why in found[check]


def test_other_vectors_or_texts_refuse_the_folder(
    packed: Path, tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    golden = Golden.read(packed / "golden.json")
    first = golden.texts[0]
    moved = dataclasses.replace(first, vector=(first.vector[0] + 3e-4, *first.vector[1:]))
    other = dataclasses.replace(golden, texts=(moved, *golden.texts[1:]))
    with c_package.open_session(packed / c_package.MODEL) as session:
        encoder = c_format.Encoder(packed / c_package.MODEL, session=session)
        c_format.check_vectors(golden, encoder)
        with pytest.raises(PackageError, match=r"other vectors of token ids .* differ by 0.0003"):
            c_format.check_vectors(other, encoder)
    (tmp_path / "a").mkdir()
    c_format.check_texts(golden, packed, ARCH, tokenizer, tmp_path / "a")
    (tmp_path / "b").mkdir()
    with pytest.raises(PackageError, match=r"other vectors of texts .* differ by 0.0003"):
        c_format.check_texts(other, packed, ARCH, tokenizer, tmp_path / "b")


@pytest.mark.parametrize(("precision", "least"), [("int8", 0.99), ("bf16", 0.9999)])
def test_what_is_not_exact_is_judged_as_in_other_packages(
    precision: str, least: float, tmp_path: Path
) -> None:
    if kernel_kind(read_context()["cpu"]["flags"], precision) is None:
        pytest.skip(f"this processor has no kernels in {precision}")
    network = random_network(Architecture((Block(32, ("mha", "ffn")),), precision), GEOMETRY)
    compiled = compile_static(network, lengths=[24])
    c_package.write_library(compiled, build(network, matrices=Float()), tmp_path / "library")
    rng = np.random.default_rng(0)
    tokens = [rng.integers(5, 77, size).tolist() for size in rng.integers(3, 20, 40)]
    with c_package.open_session(tmp_path / "library" / c_package.MODEL) as session:
        encoder = c_format.Encoder(tmp_path / "library" / c_package.MODEL, session=session)
        report = check_reduced(network, encoder, tokens)
    assert report.precision == precision
    assert report.mean_cosine > least
    assert report.neighbour_min_cosine > 0.999999  # no neighbour moves a vector


def test_beside_another_runtime_int8_is_judged_by_its_own_code(
    tmp_path: Path, tokenizer: BertTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose int8 is another: it is held to the network, not to the package's vectors."""
    if kernel_kind(read_context()["cpu"]["flags"], "int8") is None:
        pytest.skip("this processor has no kernels in int8")
    network = random_network(Architecture((Block(32, ("mha", "ffn")),), "int8"), GEOMETRY)
    package = build_package(
        tmp_path / "package",
        model=build(network).SerializeToString(),
        tokenizer=tokenizer,
        manifest=manifest_of(network, "onnxruntime"),
    )
    rng = np.random.default_rng(0)
    tokens = [rng.integers(5, 77, size).tolist() for size in rng.integers(3, 20, 40)]
    monkeypatch.setattr(c_format, "parity_tokens", lambda context: tokens)
    judged: list[Artifact] = []

    def quality(artifact: Artifact) -> dict[str, float]:
        judged.append(artifact)
        return {"pooled_cosine": 0.75}

    def score(artifact: Artifact) -> float:
        assert artifact.path.is_file()
        return scores[artifact.precision]

    scores = {"fp32": 0.85, "int8": 0.845}
    own = SimpleNamespace(quality=quality, score=score)
    evaluator: Any = SimpleNamespace(opening_by=lambda how: own, has_labels=True)
    context: Any = SimpleNamespace(
        tokenizer=tokenizer, max_length=24, reporter=SimpleNamespace(say=None)
    )

    def write(**options: Any) -> Path:
        about = (context, tmp_path / "package-c", package, read_manifest(package), network)
        return c_format.write_c("c", *about, evaluator, Options(**options))

    with pytest.raises(LimitsMissed, match=r"pooled_cosine is 0.7500, --min-quality asks for 0.8"):
        write(min_quality={"pooled_cosine": 0.8})
    manifest = read_manifest(write())
    assert manifest.latency_table is None
    assert manifest.quality == {"pooled_cosine": 0.75}
    assert [artifact.runtime for artifact in judged] == ["c", "c"]
    assert isinstance(manifest.parity, ReducedPrecisionReport)
    assert manifest.parity.neighbour_min_cosine > 0.999999  # which onnxruntime's int8 has not
    assert manifest.latency_not_stated == "not measured: nothing was measured"
    assert verified(tmp_path / "package-c").exit_code == 0
    scores["int8"] = 0.8
    with pytest.raises(PackageError, match=r"int8 lowers the score from 0.8500 to 0.8000"):
        write(force=True)
    far = ReducedPrecisionReport("int8", 0.5, 0.5, 40, 0.5, 0.5, (8, 32))
    monkeypatch.setattr(c_format, "check_reduced", lambda *about: far)
    with pytest.raises(PackageError, match=r"C code in int8 is refused .* --precision fp32"):
        write(force=True)


def test_attention_of_full_size_fits_on_a_stack() -> None:
    """Its buffers beyond 8 kB are arguments; those of one vector are registers."""
    products = PRODUCTS["avx512_vnni"]
    kernel = attention(
        Shape(1, 256, products, FORMATS["int8"]), Heads(384, 32, products.bf16), 1e-12
    )
    target = target_of(flags_of_kind("avx512_vnni"), "x86_64", precision="int8")
    (lowered,) = lower({"f": kernel.function}, handwritten_passes(), target).values()
    assert lowered.work_bytes == (4 * 8 * 384, 4 * 8 * 384)  # of 8 tokens at a time


def test_code_that_fails_or_takes_too_long_is_an_error(packed: Path, tmp_path: Path) -> None:
    program = c_program.build_program(packed, "embed.c", ARCH, tmp_path / "embed")
    weights = packed / ARCH / "weights.bin"
    rows = c_program.run_program([program, weights], ["1 2 3", "4"])
    assert [row.shape for row in rows] == [(32,), (32,)]
    assert np.isfinite(rows).all()
    with pytest.raises(ExportError, match=r"failed .1.: line 2: an id is no token"):
        c_program.run_program([program, weights], ["1", "100"])
    with pytest.raises(ExportError, match="2 rows for 1 texts"):
        c_program.run_program(["sh", "-c", "printf '1\\n2\\n'"], ["1"])
    with pytest.raises(ExportError, match="something else than numbers"):
        c_program.run_program(["sh", "-c", "echo one"], ["1"])
    with pytest.raises(ExportError, match=r"longer than 0.1 s"):
        c_program.run_program(["sleep", "5"], [], timeout_s=0.1)
    (tmp_path / "bad").mkdir()
    with pytest.raises(ExportError, match="does not compile"):
        c_program.build_program(tmp_path / "bad", "embed.c", ARCH, tmp_path / "x")


def test_the_demonstration_of_texts_says_what_is_wrong(packed: Path, tmp_path: Path) -> None:
    program = c_program.build_program(packed, "embed_text.c", ARCH, tmp_path / "embed_text")
    weights, tables = packed / ARCH / "weights.bin", packed / "tokenizer.bin"
    assert len(c_program.run_program([program, weights, tables], ["", "a b", "x" * 5000])) == 3
    for arguments, why in (
        ([weights], r"failed .2.: usage: embed_text"),
        ([weights, tables, "0"], r"failed .2.: usage: embed_text"),
        ([weights, tmp_path / "none"], "none: cannot be read"),
        ([weights, weights], "weights.bin: "),
        ([tables, tables], "tokenizer.bin: "),
    ):
        with pytest.raises(ExportError, match=why):
            c_program.run_program([program, *arguments], ["a"])


def test_it_is_refused_where_it_is_not_run() -> None:
    assert c_package.refusal("sparc") != ""
    assert c_package.refusal(ARCH) == ""
