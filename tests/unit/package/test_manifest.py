"""The manifest: round trip, schema, contradictions."""

import copy
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from device_profiles import Noise
from device_profiles.noise import MOST
from nasc.data.prompts import Prompts
from nasc.errors import PackageError
from nasc.lowering.tuned_kernels import TunedKernels
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import read_manifest, read_plain_manifest
from nasc.package.readme import figures_of, measured_text, readme

KINDS = [
    ("fp32", "embed"),
    ("int8", "embed"),
    ("fp32", "hidden"),
    ("fp32", "classify-1"),
    ("int8", "classify-2"),
    ("fp32", "spans"),
]

Packages = Mapping[tuple[str, str], Path]


@pytest.fixture
def raw(packed: Packages) -> dict[str, Any]:
    return read_plain_manifest(packed["fp32", "embed"])


@pytest.mark.parametrize("which", KINDS, ids="-".join)
def test_a_manifest_survives_its_file(packed: Packages, which: tuple[str, str]) -> None:
    manifest = read_manifest(packed[which])
    assert Manifest.from_dict(manifest.to_plain()) == manifest
    assert manifest.precision == which[0]
    assert manifest.measured is not None
    assert manifest.measured.model.samples
    assert manifest.to_plain() == read_plain_manifest(packed[which])


def test_a_manifest_without_figures_survives(
    make_model: Callable[..., Path], make_manifest: Callable[..., Manifest], raw: dict[str, Any]
) -> None:
    manifest = make_manifest(
        make_model(), predicted=None, measured=None, parity=None, tokenisation_ms=None
    )
    files = Manifest.from_dict(raw).files
    manifest = dataclasses.replace(manifest, size_bytes=1, params=1, files=files)
    assert Manifest.from_dict(manifest.to_plain()) == manifest


def test_a_latency_table_of_another_machine_stands_in_manifest_and_readme(
    packed: Packages, raw: dict[str, Any]
) -> None:
    """A manifest of before is the same, byte for byte."""
    assert "latency_table" not in raw
    raw["latency_table"] = "imported from another machine: CPU |x| @ 2 GHz"
    manifest = Manifest.from_dict(raw)
    assert manifest.latency_table == raw["latency_table"]
    assert manifest.to_plain() == raw
    told = "| predicted by | imported from another machine: CPU \\|x\\| @ 2 GHz |"
    assert told in figures_of(measured_text(manifest))
    plain = dataclasses.replace(manifest, latency_table="CPU \x1b[31m")
    assert plain.latency_table == "CPU \\x1b[31m"
    for wrong in (1, "", "\x1b[31m"):
        with pytest.raises(PackageError, match=r"latency_table|control characters"):
            Manifest.from_dict(raw | {"latency_table": wrong})


def test_tuning_records_stand_in_manifest_and_readme(raw: dict[str, Any]) -> None:
    """A manifest of before is the same, byte for byte, but for its version."""
    assert "tuned" not in raw
    raw["tuned"] = {"records_sha256": "ab" * 32, "tuned": 3, "untuned": ["softmax"]}
    manifest = Manifest.from_dict(raw)
    assert manifest.tuned == TunedKernels("ab" * 32, 3, ("softmax",))
    assert manifest.to_plain() == raw
    told = "| kernels | 3 of 4 by tuning records abababab, the others by general schedules |"
    assert told in figures_of(readme(manifest))
    changes: list[dict[str, Any]] = [
        *({"records_sha256": "x"}, {"tuned": -1}, {"tuned": True}, {"untuned": ["a b"]}),
        *({"untuned": [1]}, {"more": 1}),
    ]
    for wrong in (None, {}, *(raw["tuned"] | change for change in changes)):
        with pytest.raises(PackageError, match=r"does not fit its schema: .*tuned"):
            Manifest.from_dict(raw | {"tuned": wrong})


def test_a_prediction_may_begin_at_nothing(raw: dict[str, Any]) -> None:
    """As that of a network of microseconds on a busy machine does."""
    raw["predicted"]["low_ms"] = 0.0
    assert Manifest.from_dict(raw).predicted is not None


def test_an_estimate_stands_in_manifest_and_readme_and_goes_with_no_measurement(
    raw: dict[str, Any],
) -> None:
    """A manifest of before is the same, byte for byte."""
    assert "estimate" not in raw
    note = "ESTIMATE, not measured: of a phone |x|"
    with pytest.raises(PackageError, match="was estimated, and it was measured"):
        Manifest.from_dict(raw | {"estimate": note})
    raw |= {"estimate": note, "measured": None}
    manifest = Manifest.from_dict(raw)
    assert manifest.estimate == note
    assert manifest.to_plain() == raw
    told = readme(manifest)
    assert "**ESTIMATE, not measured: of a phone \\|x\\|.**" in told
    assert "latency, measured" not in told
    for wrong in (1, "", "\x1b[31m"):
        with pytest.raises(PackageError, match=r"estimate|control characters"):
            Manifest.from_dict(raw | {"estimate": wrong})


def test_prompts_stand_in_manifest_and_readme(packed: Packages, raw: dict[str, Any]) -> None:
    """A manifest of before is the same, byte for byte."""
    assert "prompts" not in raw
    texts = {"query": json.dumps("Instruct:\n|x| \u202e"), "none": '""'}
    raw["prompts"] = {"texts": texts, "default": "query"}
    manifest = Manifest.from_dict(raw)
    assert manifest.prompts == Prompts((("query", "Instruct:\n|x| \u202e"), ("none", "")), "query")
    assert manifest.to_plain() == raw
    told = readme(manifest)
    assert "texts with the prompt `query`" in told
    assert '| query | "Instruct:\\\\n\\|x\\| \\\\u202e" |' in told
    wrong = [[], {"q": 1}, {"q": "plain"}, {"q": "[" * 50}, {"q": '"\\ud800"'}, {"q": '"'}, {}]
    for one in wrong:
        with pytest.raises(PackageError, match=r"prompt|contradicts"):
            Manifest.from_dict(raw | {"prompts": {"texts": one, "default": None}})
    with pytest.raises(PackageError, match=r"the default prompt 'other' is none of its prompts"):
        Manifest.from_dict(raw | {"prompts": {"texts": texts, "default": "other"}})


def test_a_noise_stands_in_a_manifest_where_it_is_not_the_usual(
    packed: Packages, raw: dict[str, Any]
) -> None:
    """A manifest of before is the same, byte for byte."""
    assert "noise" not in raw["measured"]["measurement"]
    raw["measured"]["measurement"]["noise"] = Noise(shift=0.02).to_dict()
    manifest = Manifest.from_dict(raw)
    assert manifest.measured is not None
    assert manifest.measured.measurement.noise == Noise(shift=0.02)
    assert manifest.to_plain() == raw
    raw["measured"]["measurement"]["noise"] = {}
    usual = Manifest.from_dict(raw)
    assert usual.measured is not None
    assert usual.measured.measurement.noise == Noise()


@pytest.mark.parametrize(
    "noise",
    [
        {"process_spread": -0.001},
        {"process_spread": MOST + 0.001},
        {"shift": "0.01"},
        {"shift": True},
        {"jitter_ms": None},
        {"luck": 0.01},
        [0.01],
        None,
    ],
)
def test_a_noise_out_of_bounds_is_refused(raw: dict[str, Any], noise: Any) -> None:
    raw["measured"]["measurement"]["noise"] = noise
    with pytest.raises(PackageError, match=r"does not fit its schema: .*noise"):
        Manifest.from_dict(raw)


def test_an_interval_may_begin_at_nothing(raw: dict[str, Any]) -> None:
    """So it does where a busy machine says next to nothing; `nasc compile` ends with this file."""
    raw["predicted"]["low_ms"] = 0.0
    assert Manifest.from_dict(raw).to_dict() == raw
    raw["predicted"]["low_ms"] = -0.1
    with pytest.raises(PackageError, match=r"does not fit its schema: \$\.predicted"):
        Manifest.from_dict(raw)


def test_what_is_stated_beside_the_measurement(raw: dict[str, Any]) -> None:
    assert raw["conditions"]["tokenisation_included"] is False
    assert raw["measured"]["measurement"]["models"][0]["samples"]
    assert raw["measured"]["measurement"]["context"]["fingerprint"] == "synthetic"
    assert raw["architecture"]["text"] == "64: M S3 | 32: F M @ fp32"
    assert {"nasc", "python", "torch", "onnx", "onnxruntime", "transformers"} <= set(
        raw["versions"]
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), "other", "'nasc.package' was expected"),
        (("schema_version",), 1, "schema version 1, this nasc .* reads 2, 3, 4, 5, 6"),
        (("precision",), "int4", r"\$\.precision: 'int4' is not one of"),
        (("size_bytes",), 0, r"\$\.size_bytes"),
        (("params",), "many", r"\$\.params: 'many' is not of type 'integer'"),
        (("limits", "latency_ms"), -1, r"\$\.limits\.latency_ms"),
        (("created",), "yesterday", r"\$\.created"),
        (("teacher", "sha256"), "abc", r"\$\.teacher\.sha256"),
        (("conditions", "tokenisation_included"), True, "False was expected"),
        (("conditions", "quantile"), "p42", r"\$\.conditions\.quantile"),
        (("predicted", "low_ms"), "fast", r"\$\.predicted"),
        (("files", "../x"), {"sha256": "0" * 64, "size_bytes": 1}, r"\$\.files"),
        (("files", "SHA256SUMS"), {"sha256": "0" * 64, "size_bytes": 1}, r"\$\.files"),
        (("extra",), 1, "'extra' was unexpected"),
        (("architecture", "text"), "64: M @ fp32", "'64: M @ fp32' in text"),
        (("precision",), "int8", r"'64: M S3 \| 32: F M @ int8' in blocks"),
        (("head",), "classify", r"\$\.head"),
        (("max_length",), 65, "max_length must be 3 to 64, got 65"),
        (("geometry", "head_size"), 48, "no multiple"),
        (("measured", "job"), "other", "no model named 'other'"),
        (("measured", "measurement", "version"), 99, "no measurement of version"),
        (("measured", "measurement", "rounds"), None, "contradicts itself"),
    ],
)
def test_what_does_not_fit_is_named(
    raw: dict[str, Any], path: tuple[str, ...], value: object, message: str
) -> None:
    broken = copy.deepcopy(raw)
    inner = broken
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(PackageError, match=message):
        Manifest.from_dict(broken)


@pytest.mark.parametrize("name", ["conditions", "files", "teacher", "measured", "params"])
def test_what_is_missing_is_named(raw: dict[str, Any], name: str) -> None:
    broken = {key: value for key, value in raw.items() if key != name}
    with pytest.raises(PackageError, match=f"'{name}' is a required property"):
        Manifest.from_dict(broken)


def test_figures_without_an_end_are_refused(
    make_model: Callable[..., Path], make_manifest: Callable[..., Manifest]
) -> None:
    manifest = make_manifest(make_model(), quality={"pooled_cosine": float("nan")})
    with pytest.raises(PackageError, match=r"manifest\.quality\.pooled_cosine is nan"):
        manifest.to_plain()
    manifest = make_manifest(make_model(), attempts=[{"upper_ms": [1.0, float("inf")]}])
    with pytest.raises(PackageError, match=r"manifest\.attempts\[0\]\.upper_ms\[1\] is inf"):
        manifest.to_plain()
