"""Which formats go together, before anything is measured."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasc.architecture.space import GELU, Geometry, SearchSpace
from nasc.architecture.variant import Variant
from nasc.errors import UsageError
from nasc.pipelines import c_format, formats
from nasc.pipelines.options import Options

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
    assert formats.folder_beside(Path("a/b.v1"), "c") == Path("a/b.v1-c")
    with pytest.raises(UsageError, match="known: onnx, web, android, aar, ios, c, android-c"):
        Options(formats=("symbian",))
