"""Which formats go together, before anything is measured."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import device_profiles
from nasc.architecture.space import GELU, Architecture, Block, Geometry, SearchSpace
from nasc.architecture.variant import Variant
from nasc.errors import LimitsMissed, PackageError, UsageError
from nasc.evaluation.parity_report import ReducedPrecisionReport
from nasc.lowering import Artifact
from nasc.networks.network import random_network
from nasc.package.sibling_folders import folder_beside
from nasc.pipelines import artifact_quality, c_format, formats
from nasc.pipelines.artifact_quality import ArtifactEvaluator
from nasc.pipelines.options import Options
from nasc.utils.progress import Silent
from profilers import RuntimeMissing

GEOMETRY = Geometry(
    layers=2, hidden=64, head_size=32, intermediate=256, vocab_size=100, max_positions=64
)
SPACE = SearchSpace("toy", GEOMETRY, n_blocks=2, slots=1, hidden_sizes=(32, 64))
EVERY = ("onnx", "android", "ios", "web", "c")


def context(*variants: str, precisions: tuple[str, ...] | None = None, **changes: Any) -> Any:
    """What is asked of a `RunContext`; variants as "runtime precision"."""
    own = dataclasses.replace(SPACE, geometry=dataclasses.replace(GEOMETRY, **changes))
    said: list[str] = []
    return SimpleNamespace(
        variants=tuple(Variant(*text.split()) for text in variants),
        settings=SimpleNamespace(precisions=precisions),
        space=own,
        trained_head="embed",
        device=SimpleNamespace(
            name="host", connection=SimpleNamespace(kind="local"), emulated=False
        ),
        head="embed",
        teacher=SimpleNamespace(paired=False, name="tiny"),
        said=said,
        say_once=said.append,
    )


@pytest.fixture
def amx(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that TVM computes on in all its precisions."""
    monkeypatch.setattr(formats, "precisions_here", lambda runtime: ("fp32", "bf16", "int8"))


def test_one_network_for_all_formats_is_in_a_precision_of_all(amx: None) -> None:
    own = context("onnxruntime fp32", "onnxruntime int8", "onnxruntime int8-emb4")
    found = formats.variants_in(own, EVERY)
    assert [v.precision for v in found] == ["fp32", "int8"]
    assert own.said == [
        "onnxruntime int8-emb4 is left out: --format c is not made in int8-emb4",
    ]
    own = context("tvm fp32", "tvm bf16", "openvino int8", "openvino fp16")
    assert formats.variants_in(own, ["c"]) == own.variants[:3]
    assert formats.variants_in(own, ["c", "web"]) == (own.variants[0], own.variants[2])
    assert formats.variants_in(own, []) == own.variants


def test_what_no_format_can_be_made_in_is_one_message(amx: None) -> None:
    for own, asked, message in (
        (context("tvm bf16"), ["onnx"], "^--format onnx is not made in bf16. Leave that"),
        (
            context("onnxruntime fp32", "onnxruntime int8-emb4", precisions=("int8-emb4", "fp32")),
            ["c"],
            "^--precision int8-emb4: --format c is not made in int8-emb4",
        ),
        (
            context("onnxruntime int8", head_size=16),
            ["c"],
            "--format c: tvm makes int8 of hidden, inner and head sizes that are multiples of 32",
        ),
    ):
        with pytest.raises(UsageError, match=message):
            formats.variants_in(own, asked)


def test_a_processor_without_int8_products_gets_c_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "precisions_here", lambda runtime: ("fp32",))
    own = context("onnxruntime fp32", "onnxruntime int8")
    assert formats.variants_in(own, EVERY) == own.variants[:1]
    assert "not made in int8 for this processor" in own.said[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "relu"}, f"with the activation '{GELU}', not 'relu': leave --format c"),
        ({"embedding": 32}, "with an embedding of the hidden size"),
        ({"buckets": 32}, "without relative positions"),
    ],
)
def test_teachers_without_a_c_library_are_refused_at_once(
    changes: dict[str, Any], message: str
) -> None:
    pytest.importorskip("tvm")
    pytest.importorskip("ziglang")
    with pytest.raises(UsageError, match=message):
        c_format.check_c("c", context("onnxruntime fp32", **changes))


@pytest.mark.parametrize("name", ["c", "android-c"])
@pytest.mark.parametrize(
    ("about", "message"),
    [
        (
            {"device": {"connection": SimpleNamespace(kind="ssh")}},
            "device 'host' is another machine. Run nasc there, or leave --format {} out",
        ),
        ({"device": {"emulated": True}}, "device 'host' is another machine"),
        ({"teacher": {"paired": True}}, "the teacher 'tiny' scores pairs: leave --format {} out"),
        (
            {"head": "tokens-dense4identity-unscaled"},
            "scores tokens: .*encoder alone: --head embed",
        ),
        ({"head": "answers-dense2identity-unscaled"}, "scores tokens: .*leave --format {} out"),
    ],
)
def test_what_c_code_has_no_call_for_is_refused_at_once(
    name: str, about: dict[str, Any], message: str
) -> None:
    pytest.importorskip("tvm")
    pytest.importorskip("ziglang")
    own = context("onnxruntime fp32")
    for part, changes in about.items():
        if isinstance(changes, dict):
            vars(getattr(own, part)).update(changes)
        else:
            setattr(own, part, changes)
    with pytest.raises(UsageError, match=message.format(name)):
        c_format.check_c(name, own)


@pytest.mark.parametrize("missing", ["tvm", "ziglang"])
def test_what_is_not_installed_is_one_message(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else found(name)
    )
    with pytest.raises(UsageError, match=r"needs TVM.* and ziglang.*'\.\[runner,tvm\]'"):
        c_format.check_c("c", context("onnxruntime fp32"))


def test_each_format_has_its_folder_but_the_one_that_was_measured() -> None:
    options = Options(formats=EVERY)
    assert options.folders("onnxruntime") == ("android", "ios", "web", "c")
    assert options.folders("tvm") == EVERY
    assert folder_beside(Path("a/b.v1"), "c") == Path("a/b.v1-c")
    with pytest.raises(
        UsageError, match="known: onnx, web, android, android-ort, aar, ios, c, android-c"
    ):
        Options(formats=("symbian",))


@pytest.mark.parametrize(("reduced", "refused"), [(0.84, False), (0.8, True)])
def test_code_in_int8_is_held_to_labelled_data(
    reduced: float, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As onnxruntime's is, beside whose package it lies; not where it is TVM's, which was."""
    near = ReducedPrecisionReport("int8", 0.999, 0.99, 40, 0.01, 0.999, (8, 32))
    monkeypatch.setattr(c_format, "check_reduced", lambda *about: near)
    monkeypatch.setattr(c_format, "parity_tokens", lambda context: [[1, 2]])
    written: list[tuple[str, Path]] = []
    monkeypatch.setattr(
        c_format,
        "_write_library",
        lambda form, network, max_length, folder: written.append(
            (network.architecture.precision, folder)
        ),
    )

    def score(artifact: Artifact) -> float:
        assert opened == [c_format.open_c]
        if artifact.precision == "fp32":
            assert artifact.path.is_relative_to(tmp_path / "fp32")
            return 0.845
        return reduced

    opened: list[Any] = []
    judge = SimpleNamespace(score=score)
    evaluator: Any = SimpleNamespace(
        has_labels=True, opening_by=lambda how: opened.append(how) or judge
    )
    network = random_network(Architecture((Block(64, ("mha", "ffn")),), "int8"), GEOMETRY)
    encoder: Any = SimpleNamespace(path=tmp_path / "library" / "network.json")

    def parity(runtime: str) -> Any:
        manifest: Any = SimpleNamespace(
            task=None,
            max_length=24,
            precision="int8",
            conditions=SimpleNamespace(runtime=runtime),
        )
        form = c_format.c_format("c")
        about = (form, context("tvm int8"), manifest, network, encoder, evaluator, tmp_path)
        return c_format._parity(*about)

    if refused:
        with pytest.raises(PackageError, match=r"lowers the score from 0.8450 to 0.8000"):
            parity("onnxruntime")
    else:
        assert parity("onnxruntime") is near
    assert written == [("fp32", tmp_path / "fp32")]
    assert parity("tvm") is near
    assert len(opened) == len(written) == 1


def test_a_folder_that_misses_a_quality_says_that_the_package_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missed(*about: Any) -> Path:
        raise LimitsMissed("pooled_cosine is 0.7, --min-quality asks for 0.8")

    monkeypatch.setattr(formats, "write_c", missed)
    own: Any = SimpleNamespace(
        reporter=SimpleNamespace(stage=lambda name: lambda *about: None),
        timed=lambda name: contextlib.nullcontext(),
    )
    unused: Any = None
    about: Any = dataclasses.make_dataclass("About", ["beside_sha256"])(None)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "manifest.json").write_text("{}")
    writer = formats.FolderWriter(own, Options(), unused, tmp_path / "p", about, unused)
    with pytest.raises(
        PackageError,
        match=r"^--format c: '.*/p-c' is not written: .*asks for 0.8. The package '.*/p' is",
    ):
        writer.write("c")


def test_beside_a_gpu_s_package_the_model_for_apps_is_judged_on_the_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A build of onnxruntime for the GPU is not needed for it, let alone missed at the end."""

    def missing(*about: Any, **more: Any) -> Any:
        raise RuntimeMissing("this build has no CUDAExecutionProvider")

    monkeypatch.setattr(artifact_quality, "parity_tokens", lambda context: [[1, 2, 3], [4, 5]])
    monkeypatch.setattr(ArtifactEvaluator, "quality", lambda self, artifact: {})
    monkeypatch.setattr(formats, "without_latency", lambda manifest, runtime: manifest)
    own: Any = SimpleNamespace(
        device=device_profiles.find("cuda"),
        cache=tmp_path,
        settings=SimpleNamespace(shape=None),
        session=missing,
        open_encoder=missing,
        max_length=8,
        tokenizer=None,
        reporter=Silent(),
        timed=lambda name: contextlib.nullcontext(),
    )

    def built(folder: Path, *, model: Path, manifest: Any, open_encoder: Any, **about: Any) -> Path:
        assert manifest.parity.max_abs_diff < 1e-4
        assert manifest.conformance
        artifact = Artifact(model, (), "onnxruntime", "fp32", 1)
        with open_encoder(artifact) as encoder:
            assert encoder.outputs([[1, 2, 3]])[0].shape == (64,)
        return folder

    monkeypatch.setattr(formats, "build_package", built)
    kept = ["beside_sha256", "conditions", "parity", "quality", "conformance"]
    manifest: Any = dataclasses.make_dataclass("About", kept)(
        None, SimpleNamespace(runtime="torch"), None, None, None
    )
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "manifest.json").write_text("{}")
    network = random_network(Architecture((Block(64, ("mha", "ffn")),)), GEOMETRY)
    evaluator = ArtifactEvaluator(own, None, None)
    with formats.FolderWriter(
        own, Options(), evaluator, tmp_path / "p", manifest, network
    ) as writer:
        assert writer.write("onnx") == folder_beside(tmp_path / "p", "onnx")
