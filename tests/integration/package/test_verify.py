"""Verifying: what is right passes, and one changed byte of any file is found."""

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import numpy_helper
from resealed import reseal, rewrite

import device_profiles
import profilers
from device_profiles import Noise
from nasc.architecture.heads import MEAN, pooling_of
from nasc.errors import CacheBusy, PackageError
from nasc.latency.session import MeasurementSession
from nasc.package import verify_latency
from nasc.package.build import build_package
from nasc.package.hashes import SUMS, find_changes
from nasc.package.manifest import Manifest
from nasc.package.measured_latency import MeasuredLatency
from nasc.package.measurements import MEASUREMENTS
from nasc.package.process import PackageProcess
from nasc.package.read_manifest import MANIFEST, read_manifest, read_plain_manifest
from nasc.package.readme import figures_of
from nasc.package.records import PeakMemory
from nasc.package.verify import verify_package
from nasc.package.verify_latency import latency_check
from nasc.package.verify_report import VerifyReport
from profilers import Protocol
from profilers.testing import SyntheticMachine

pytestmark = pytest.mark.usefixtures("shared_process")

KINDS = [
    ("fp32", "embed"),
    ("int8", "embed"),
    ("int8-emb4", "embed"),
    ("fp32", "hidden"),
    ("fp32", "embed-cls"),
    ("fp32", "embed-max-unscaled"),
    ("fp32", "classify-1"),
    ("int8", "classify-2"),
    ("fp32", "spans"),
    ("fp32", "embed-cls-dense24sigmoid-first10"),
    ("fp32", "scores-cls-dense64tanh-dense2identity-unscaled"),
    ("int8", "tokens-dense3identity-unscaled"),
    ("fp32", "answers-dense2identity-unscaled"),
]

Packages = Mapping[tuple[str, str], Path]
NAMES = (
    "model.onnx",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "golden.json",
    "manifest.json",
    "measurements.json",
    "MEASURED.md",
    "README.md",
    "SHA256SUMS",
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
)


@pytest.fixture
def package(packed: Packages, tmp_path: Path) -> Path:
    """A copy of the fp32 package that may be changed."""
    return Path(shutil.copytree(packed["fp32", "embed"], tmp_path / "package"))


def failed(report: VerifyReport) -> dict[str, str]:
    assert not (report.ok and report.failed)
    return {check.name: check.detail for check in report.failed}


def test_a_parity_beyond_what_is_allowed_is_found_of_every_head(
    packed: Packages, tmp_path: Path
) -> None:
    for which in (("fp32", "hidden"), ("fp32", "spans")):
        folder = Path(shutil.copytree(packed[which], tmp_path / which[1]))
        parity = read_plain_manifest(folder)["parity"]
        reseal(folder, parity=parity | {"share": 1.01})
        assert "parity" in failed(verify_package(folder, measure=False))


def unchecked(report: VerifyReport) -> list[str]:
    """What could not be checked where nothing failed: neither a success nor a failure."""
    assert (report.ok, report.complete, report.exit_code) == (False, False, 3)
    told = report.to_dict()
    assert (told["ok"], told["complete"], told["failed"]) == (False, False, [])
    assert told["not_checked"] == [check.name for check in report.not_checked]
    return list(told["not_checked"])


@pytest.mark.parametrize("which", KINDS, ids="-".join)
def test_a_package_as_built_passes(
    packed: Packages, which: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a process that is started for it, and ended."""
    monkeypatch.setattr("nasc.package.verify_files.PackageProcess", PackageProcess)
    report = verify_package(packed[which], measure=False)
    assert report.ok, report.failed
    outcomes = {check.name: check.ok for check in report.checks}
    assert outcomes.pop("latency") is None
    assert set(outcomes.values()) == {True}
    assert (report.complete, report.exit_code) == (True, 0)
    assert str(report.checks[-1]) == "latency: left out: as asked for"
    assert report.manifest == read_manifest(packed[which])
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("where", [0.0, 0.13, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("name", NAMES)
def test_one_changed_byte_of_any_file_is_found(package: Path, name: str, where: float) -> None:
    data = bytearray((package / name).read_bytes())
    offset = round(where * (len(data) - 1))
    for flip in (0x01, 0x20, 0x80):
        changed = bytearray(data)
        changed[offset] ^= flip
        (package / name).write_bytes(changed)
        report = verify_package(package, measure=False)
        assert not report.ok, (name, offset, flip)
        assert failed(report).keys() & {"files", "manifest"}
    (package / name).write_bytes(data)
    assert verify_package(package, measure=False).ok


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_shorter_longer_or_missing_is_found(package: Path, name: str) -> None:
    data = (package / name).read_bytes()
    for changed in (data[:-1], data + b"\n", b""):
        (package / name).write_bytes(changed)
        assert not verify_package(package, measure=False).ok
    (package / name).unlink()
    if name == MANIFEST:
        with pytest.raises(PackageError, match=r"there is no manifest\.json"):
            verify_package(package, measure=False)
    else:
        report = verify_package(package, measure=False)
        check = "manifest" if name == MEASUREMENTS else "files"
        assert f"{name} is missing" in failed(report)[check]


def test_a_file_that_nobody_listed_is_found(package: Path) -> None:
    (package / "virus.py").write_text("x")
    assert "virus.py is not listed" in failed(verify_package(package, measure=False))["files"]
    (package / "virus.py").unlink()
    (package / "folder").mkdir()
    assert "folder is not listed" in failed(verify_package(package, measure=False))["files"]


def test_links_are_followed_and_their_content_is_hashed(package: Path, tmp_path: Path) -> None:
    """As in the cache of the Hugging Face hub: a snapshot of links to blobs."""
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for index, path in enumerate(sorted(filter(Path.is_file, package.rglob("*")))):
        path.rename(blobs / str(index))
        path.symlink_to(blobs / str(index))
    assert verify_package(package, measure=False).ok
    blob = (package / "vocab.txt").resolve()
    data = blob.read_bytes()
    blob.write_bytes(b"#" + data[1:])
    assert failed(verify_package(package, measure=False))["files"] == "vocab.txt was changed"
    blob.unlink()
    assert (
        "vocab.txt is a link that leads nowhere"
        in failed(verify_package(package, measure=False))["files"]
    )


def test_what_git_and_the_hub_lay_beside_is_no_part(package: Path) -> None:
    (package / ".git" / "objects").mkdir(parents=True)
    (package / ".cache" / "huggingface" / "download").mkdir(parents=True)
    for name in (".gitattributes", ".gitignore"):
        (package / name).write_text("*.onnx filter=lfs")
    report = verify_package(package, measure=False)
    assert report.ok
    files = next(check.detail for check in report.checks if check.name == "files")
    assert files == (
        "16 as hashed; not looked at: .git; not looked at: .gitattributes; "
        "not looked at: .gitignore; not looked at: .cache/huggingface"
    )
    (package / ".cache" / "virus.py").write_text("x")
    (package / "1_Pooling" / "virus.py").write_text("x")
    found = failed(verify_package(package, measure=False))["files"]
    assert ".cache/virus.py is not listed" in found
    assert "1_Pooling/virus.py is not listed" in found


@pytest.mark.timeout(30, func_only=True)
def test_a_pipe_in_place_of_a_file_is_found_without_waiting(package: Path) -> None:
    for name in ("vocab.txt", SUMS):
        (package / name).unlink()
        os.mkfifo(package / name)
    found = find_changes(package, read_manifest(package).files)
    assert found == [f"{name} is no file but a pipe (FIFO)" for name in (SUMS, "vocab.txt")]


def test_names_of_files_are_told_as_text(package: Path) -> None:
    (package / os.fsdecode(b"\xff\x1b[2J")).write_text("x")
    report = verify_package(package, measure=False)
    assert "\\xff\\x1b[2J is not listed" in failed(report)["files"]
    json.dumps(report.to_dict(), ensure_ascii=False).encode("utf-8")


def test_a_package_of_before_passes(packed: Packages, tmp_path: Path) -> None:
    """Of schema version 2: no files for other libraries, and a README that tells of none."""
    for which, folder in packed.items():
        old = Path(shutil.copytree(folder, tmp_path / "-".join(which)))
        for name in ("config.json", "modules.json", "sentence_bert_config.json"):
            (old / name).unlink(missing_ok=True)
        (old / "config_sentence_transformers.json").unlink(missing_ok=True)
        shutil.rmtree(old / "1_Pooling", ignore_errors=True)
        reseal(old, schema_version=2)
        rewrite(old)
        report = verify_package(old, measure=False)
        assert report.ok, report.failed
        assert "sentence-transformers" not in (old / "README.md").read_text(encoding="utf-8")


def test_a_form_of_before_lists_no_measurements(packed: Packages, tmp_path: Path) -> None:
    """measurements.json would be held to nothing."""
    folder = Path(shutil.copytree(packed["fp32", "embed"], tmp_path / "p"))
    plain = read_plain_manifest(folder) | {"schema_version": 6}
    (folder / "manifest.json").write_text(json.dumps(plain), encoding="utf-8")
    with pytest.raises(PackageError, match=r"lists a MEASURED\.md, and is of another form"):
        read_plain_manifest(folder)


@pytest.mark.parametrize("version", [4, 6])
def test_a_package_of_an_older_schema_passes(
    packed: Packages, tmp_path: Path, version: int
) -> None:
    """4 is from before heads of other poolings, 6 from before measurements had their own file."""
    for which, folder in packed.items():
        if version == 6 or pooling_of(which[1]) == MEAN:
            old = Path(shutil.copytree(folder, tmp_path / "-".join(which)))
            reseal(old, schema_version=version)
            rewrite(old)
            assert not (old / "measurements.json").exists()
            report = verify_package(old, measure=False)
            assert report.ok, report.failed
    text = (tmp_path / "fp32-embed" / "README.md").read_text(encoding="utf-8")
    assert [line.split("|")[1].strip() for line in figures_of(text)[2:]] == [
        *("limit: latency_ms", "limit: params", "latency, measured (ms)"),
        *("its upper bound (one-sided 95%, ms)", "as observed: p50, p90, p99 (ms)"),
        *("latency, predicted (ms)", "tokenisation, beside it (ms)", "size of model.onnx (bytes)"),
        *("parameters", "quality: pooled cosine", "quality: similarity spearman"),
        *("quality: sentences", "largest difference from torch"),
    ]
    assert "manifest.json holds the evidence: raw samples, conditions, versions" in text


def test_files_changed_together_with_their_hashes_are_found_by_what_they_say(
    package: Path,
) -> None:
    """Hashes alone would pass here."""

    def outcome() -> dict[str, str]:
        assert not find_changes(package, read_manifest(package).files)
        return failed(verify_package(package, measure=False))

    model = onnx.load(package / "model.onnx")
    (tensor,) = [t for t in model.graph.initializer if t.name == "1.mha.o_weight"]
    value = numpy_helper.to_array(tensor) * -3
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    original = (package / "model.onnx").read_bytes()
    onnx.save(model, package / "model.onnx")
    reseal(package)
    found = outcome()
    assert "largest difference" in found["golden vectors"]
    assert "another file" in found["measurement"]

    (package / "model.onnx").write_bytes(original)
    tokenizer = (package / "tokenizer.json").read_text(encoding="utf-8")
    (package / "tokenizer.json").write_text(
        tokenizer.replace('"max_length":48', '"max_length":40'), encoding="utf-8"
    )
    reseal(package)
    assert outcome().keys() == {"tokenizer"}

    (package / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    reseal(package, params=99)
    assert outcome().keys() == {"model", "README"}


@pytest.mark.parametrize(
    ("path", "value", "check", "message"),
    [
        (("size_bytes",), 12345, "model", "size in bytes"),
        (("limits", "latency_ms"), 1.0, "limits", "latency_ms is 5.*over the limit 1"),
        (("limits", "params"), 5, "limits", "params is 53248, over the limit 5"),
        (("limits", "peak_memory_bytes"), 5, "limits", "peak_memory_bytes <= 5 has no figure"),
        (("parity", "max_abs_diff"), 0.1, "parity", "0.1 from torch"),
        (("measured", "latency_ms"), 1.0, "measurement", "latency_ms differs"),
        (
            ("measured", "measurement", "models", 0, "upper_ms"),
            0.5,
            "measurement",
            "upper_ms is 0.5, the raw samples give 5",
        ),
        (
            ("measured", "measurement", "reference", "quiet_ms"),
            1.0,
            "measurement",
            "the raw samples give",
        ),
        (("max_length",), 47, "tokenizer", "golden length 48, not 47"),
        (("architecture", "text"), "64: M @ fp32", "manifest", "contradicts itself"),
    ],
)
def test_a_forged_manifest_is_found(
    package: Path, path: tuple[Any, ...], value: object, check: str, message: str
) -> None:
    raw = read_plain_manifest(package)
    inner = raw
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    reseal(package, **raw)
    found = failed(verify_package(package, measure=False))
    assert check in found
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found[check])


def test_a_model_of_other_operators_is_found(package: Path) -> None:
    model = onnx.load(package / "model.onnx")
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, package / "model.onnx")
    reseal(package)
    found = failed(verify_package(package, measure=False))
    assert "not standard: com.microsoft" in found["model"]


# The device: a made-up machine on which the model takes 5 ms, under a limit of 6


def test_on_the_right_device_the_latency_is_measured_again(
    packed: Packages, opener: Callable[..., Any]
) -> None:
    report = verify_package(packed["fp32", "embed"], opener=opener)
    assert report.ok, report.failed
    check = report.checks[-1]
    assert (check.name, check.ok) == ("latency", True)
    assert "limit 6 ms" in check.detail
    assert report.measured is not None
    assert report.measured.latency_ms == pytest.approx(5, rel=0.05)


def test_a_latency_that_is_over_the_limit_now_fails(packed: Packages) -> None:
    slow = SyntheticMachine({"model": 7.0, "reference": 4.0})
    report = verify_package(packed["fp32", "embed"], opener=lambda *_: slow.open())
    assert "limit 6 ms" in failed(report)["latency"]


def test_a_busy_machine_is_no_judge_of_a_package(
    packed: Packages, opener: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was seen quiet before and is half as fast now: it says so, and not that all is well."""
    monkeypatch.setattr("profilers.protocol.QUIET_PAUSE_S", 0.0)
    monkeypatch.setattr("profilers.protocol.QUIET_PATIENCE_S", 0.0)
    folder, brief = packed["fp32", "embed"], Protocol(min_rounds=3, max_rounds=12)
    assert verify_package(folder, opener=opener, cache=tmp_path).ok
    slow = SyntheticMachine({"model": 10.0, "reference": 8.0})
    report = verify_package(folder, opener=lambda *_: slow.open(), cache=tmp_path, protocol=brief)
    check = report.checks[-1]
    assert (check.name, check.ok) == ("latency", None)
    assert "the machine was 2.00 times as slow as it is when quiet" in check.detail


@pytest.mark.slow
def test_the_scale_is_the_verifier_s_own(
    package: Path, opener: Callable[..., Any], tmp_path: Path
) -> None:
    """All of its times are a tenth of what they were, the record of the reference too."""
    times = {"reference_before_ms", "reference_after_ms", "quiet_ms", "observed_ms", "level_ms"}
    times |= {"latency_ms", "lower_ms", "upper_ms", "p50_ms", "p90_ms", "p99_ms"}
    times |= {"runs_ms", "own_ms"}

    def shrunk(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: shrunk(one, key) for key, one in value.items()}
        if isinstance(value, list):
            return [shrunk(one, name) for one in value]
        return 0.1 * value if name in times and isinstance(value, float) else value

    raw = read_plain_manifest(package)
    changes = {"measured": shrunk(raw["measured"]), "limits": {"latency_ms": 0.6}}
    for visit in changes["measured"]["measurement"]["reference"]["samples"]:
        visit[3:5] = [[0.1 * run for run in runs] for runs in visit[3:5]]
    reseal(package, **changes)
    rewrite(package)
    report = verify_package(package, opener=opener, cache=tmp_path)
    assert list(failed(report)) == ["latency"]
    assert "limit 0.6 ms" in failed(report)["latency"]
    assert report.measured is not None
    reseal(package, **changes | {"limits": {"latency_ms": 6.0}})
    rewrite(package)
    found = failed(verify_package(package, opener=opener, cache=tmp_path))
    assert "5.0" in found["latency"]
    assert "the manifest states at most 0.5" in found["latency"]
    assert report.measured.latency_ms == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (
            "fingerprint",
            "another processor: the package was measured on fingerprint synthetic",
        ),
        ("runtime_version", "another runtime"),
        ("browser", "another browser: the package was measured on browser None, here it is other"),
    ],
)
def test_on_another_device_it_says_why_nothing_was_measured(
    packed: Packages, opener: Callable[..., Any], field: str, message: str
) -> None:
    def other(*_: object) -> Any:
        worker = opener()
        worker.context[field] = "other"
        if field == "browser":
            worker.context["fingerprint"] = "other"  # which covers it
        return worker

    report = verify_package(packed["fp32", "embed"], opener=other)
    assert unchecked(report) == ["latency"]
    assert report.checks[-1].ok is None
    assert message in report.checks[-1].detail
    assert report.measured is None


def test_a_device_that_cannot_be_reached_is_a_reason_too(packed: Packages) -> None:
    report = verify_package(packed["fp32", "embed"], device=device_profiles.find("pixel6"))
    assert unchecked(report) == ["latency"]
    assert "cannot be reached" in report.checks[-1].detail


def test_an_emulated_device_is_a_reason_too(packed: Packages) -> None:
    device = dataclasses.replace(device_profiles.find("host"), emulated=True)
    report = verify_package(packed["fp32", "embed"], device=device)
    assert unchecked(report) == ["latency"]
    assert "is emulated" in report.checks[-1].detail


def test_another_reference_network_is_a_reason_too(
    packed: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasc.package.verify_latency.reference_hash", lambda kind: "0" * 16)
    report = verify_package(packed["fp32", "embed"])
    assert unchecked(report) == ["latency"]
    assert "another reference network" in report.checks[-1].detail


@pytest.mark.slow
def test_it_measures_alone_and_says_when_it_waits(
    packed: Packages,
    opener: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nasc.utils.files.LOCK_TIMEOUT_S", 0.0)
    tried, said = [], []

    def checking(*arguments: object) -> Any:
        with (
            pytest.raises(CacheBusy),
            MeasurementSession.on(device_profiles.find("host"), tmp_path).alone(),
        ):
            tried.append(True)
        return opener(*arguments)

    folder = packed["fp32", "embed"]
    assert verify_package(folder, opener=checking, cache=tmp_path).measured is not None
    assert not tried
    with MeasurementSession.on(device_profiles.find("host"), tmp_path).alone():
        report = verify_package(folder, opener=opener, cache=tmp_path, say=said.append)
    assert report.measured is None
    assert (report.checks[-1].name, report.checks[-1].ok) == ("latency", None)
    assert "CacheBusy: another nasc has been making measurements" in report.checks[-1].detail
    assert said == ["waiting for another nasc that is making measurements on device 'host'"]


def test_a_broken_package_is_not_measured(package: Path, opener: Callable[..., Any]) -> None:
    (package / "vocab.txt").write_text("x")
    report = verify_package(package, opener=opener)
    assert report.checks[-1].detail == "a package that fails is not measured"


def test_peak_memory_is_measured_again_where_it_is_limited(
    tmp_path: Path,
    tokenizer: Any,
    make_model: Callable[..., Path],
    make_manifest: Callable[..., Manifest],
    opener: Callable[..., Any],
) -> None:
    model = make_model()
    manifest = make_manifest(
        model,
        limits={"peak_memory_bytes": 2000.0},
        peak_memory=PeakMemory(1500, 1600),
    )
    folder = build_package(tmp_path / "p", model=model, tokenizer=tokenizer, manifest=manifest)
    for total, ok in ((1900, True), (2100, False)):

        def holding(*about: object, most: int = total) -> Any:
            worker = opener(*about)
            worker.peak_bytes = lambda: most
            return worker

        report = verify_package(folder, opener=holding)
        assert (report.checks[-1].name, report.checks[-1].ok) == ("peak memory", ok)
        assert "no limit is promised" in report.checks[-2].detail


def test_a_peak_memory_that_was_never_measured_fails(package: Path) -> None:
    """Of a package that promises its size alone, whose measurement somebody took out."""
    plain = read_plain_manifest(package) | {"limits": {"size_bytes": 1e9}}
    plain |= {"measured": None, "predicted": None}
    for changes, code in (
        ({"peak_memory": {"predicted_bytes": None, "measured_bytes": 1}}, 1),
        ({"peak_memory": {"predicted_bytes": None, "measured_bytes": None}}, 3),
        ({"tokenisation_ms": None}, 0),
    ):
        plain |= changes
        reseal(package, dict(plain))
        rewrite(package)
        report = verify_package(package, measure=False)
        assert report.exit_code == code, (report.failed, report.not_checked)
        found = {check.name: check.detail for check in report.checks}
        if code == 1:
            wrong = "a peak memory of 1 bytes is stated without a measurement"
            assert failed(report) == {"measurement": wrong}
        assert ("none is stated" in found["latency"]) == (code == 0)


def restate(
    folder: Path, factor: float, reach: float, noise: Noise | None = None, **changes: Any
) -> None:
    """Change a package's runs, and derive everything anew, as a forger would, or a quieter cache.

    Args:
        folder: The package.
        factor: Of all runs of the model; the reference's stay.
        reach: How far the reference's quiet time may lie off.
        noise: That the bounds are computed with; None is as it was.
        changes: Of the manifest.
    """
    first = read_manifest(folder).measured
    assert first is not None
    model, reference = first.model, first.measurement.reference
    noise = noise or first.measurement.noise
    scale = profilers.Scale(reference.quiet_ms, reference.quiet_ms * (1 + reach))
    samples = [
        dataclasses.replace(
            one,
            runs_ms=tuple(factor * run for run in one.runs_ms),
            own_ms=tuple(factor * run for run in one.own_ms),
        )
        for one in model.samples
    ]
    model = profilers.ModelMeasurement.of(
        model.name,
        model.content_hash,
        samples,
        scale,
        noise=noise,
        converged=False,
    )
    converged = model.half_width <= first.measurement.protocol["target_half_width"]
    measurement = dataclasses.replace(
        first.measurement,
        models=(dataclasses.replace(model, converged=converged),),
        reference=dataclasses.replace(reference, scale=scale, given=True),
        converged=converged,
        noise=noise,
    )
    measured = dataclasses.replace(first, measurement=measurement).to_dict()
    reseal(folder, measured=measured, **changes)
    rewrite(folder)


HOST = device_profiles.find("host")
STILL = Noise(process_spread=0.0, jitter_ms=0.0)
LOUD = Noise(process_spread=0.1)


def outcome(report: VerifyReport, name: str) -> tuple[bool | None, str]:
    return next((check.ok, check.detail) for check in report.checks if check.name == name)


def test_a_package_cannot_claim_that_its_device_makes_less_noise(package: Path) -> None:
    """Its figures follow from what it claims, and its limit would hold by them."""
    restate(package, 1.0, 0.0, STILL, limits={})
    claimed = read_manifest(package).measured
    assert claimed is not None
    limit = 1.005 * claimed.model.upper_ms
    restate(package, 1.0, 0.0, STILL, limits={"latency_ms": limit})
    report = verify_package(package, measure=False)
    assert unchecked(report) == ["limits"]
    assert re.search(
        r"latency_ms 5\.\d+ <= 5\.\d+; the latency was stated by less noise than is usual, which "
        r"the file of device 'host' here does not tell; by the usual it may be up to 5\.\d+ ms, "
        r"over the limit 5\.\d+: give the device's file with --device, or make it anew: "
        r"nasc compile --latency-ms 5\.",
        outcome(report, "limits")[1],
    )
    assert outcome(report, "measurement")[0] is True
    # Where the device is known to be like that it stands as stated.
    still = dataclasses.replace(HOST, noise=STILL)
    assert verify_package(package, measure=False, device=still).ok


def test_less_noise_of_a_device_that_is_unknown_here_is_not_taken_on_trust(package: Path) -> None:
    conditions = read_plain_manifest(package)["conditions"]
    restate(package, 1.0, 0.0, STILL, limits={})
    claimed = read_manifest(package).measured
    assert claimed is not None
    limits = {"latency_ms": 1.005 * claimed.model.upper_ms}
    restate(package, 1.0, 0.0, STILL, limits=limits, conditions=conditions | {"device": "nowhere"})
    report = verify_package(package, measure=False)
    assert outcome(report, "limits")[0] is None
    assert "which no file here tells of device 'nowhere'" in outcome(report, "limits")[1]


def test_more_noise_here_than_where_it_was_made_is_no_doubt_about_the_package(
    package: Path, opener: Callable[..., Any], tmp_path: Path
) -> None:
    """A machine of the same name may be another: it counts where the latency is measured on it."""
    restate(package, 1.0, 0.0, limits={"latency_ms": 5.2})
    loud = dataclasses.replace(HOST, noise=LOUD)
    assert verify_package(package, measure=False, device=loud).ok
    report = verify_package(package, opener=opener, cache=tmp_path, device=loud)
    assert unchecked(report) == ["latency"]
    assert "it may be under the limit or over it" in outcome(report, "latency")[1]


@pytest.mark.parametrize(
    "claimed", [Noise(process_spread=0.25), Noise(jitter_ms=0.9), Noise(baseline_spread=0.25)]
)
def test_a_slower_package_does_not_pass_by_claiming_much_noise(
    claimed: Noise, package: Path, opener: Callable[..., Any], tmp_path: Path
) -> None:
    """What is measured here is judged by the noise of the device that is here."""
    restate(package, 0.5, 0.0, claimed, limits={})
    assert list(failed(verify_package(package, opener=opener, cache=tmp_path))) == ["latency"]


@pytest.mark.slow
def test_what_is_measured_again_counts_with_the_noise_of_the_device(
    package: Path, opener: Callable[..., Any], tmp_path: Path
) -> None:
    uppers = []
    for index, (own, claimed) in enumerate(
        [(Noise(), Noise()), (Noise(), STILL), (LOUD, STILL), (Noise(), LOUD), (LOUD, LOUD)]
    ):
        restate(package, 1.0, 0.0, claimed, limits={})
        device = dataclasses.replace(HOST, noise=own)
        report = verify_package(package, opener=opener, cache=tmp_path / str(index), device=device)
        assert report.measured is not None
        assert outcome(report, "latency")[0] is True
        uppers.append(report.measured.upper_ms)
    usual, still, loud, claimed, both = uppers
    assert still == usual  # the claim of less changed nothing
    assert claimed == usual  # nor that of more
    assert loud == both > usual + 0.1


def test_a_bound_that_was_claimed_too_narrow_is_no_reason_to_fail(package: Path) -> None:
    """Of an honest package, whose device turned out to make more noise."""
    restate(package, 1.0, 0.0, limits={})
    manifest = read_manifest(package)
    assert manifest.measured is not None
    first = manifest.measured
    now = dataclasses.replace(first.model, latency_ms=5.3, lower_ms=5.2, upper_ms=5.4)
    baseline: Any = SimpleNamespace(quiet_ms=4.0, windows=())
    assert latency_check(manifest, first, now, baseline, 0.0, Noise()).ok is False
    check = latency_check(manifest, first, now, baseline, 0.0, LOUD)
    assert check.ok is True


@pytest.mark.parametrize(("busy_share", "ok"), [(0.0, False), (0.5, False), (0.51, None)])
def test_a_machine_that_was_mostly_disturbed_is_no_judge(
    busy_share: float, ok: bool | None, package: Path
) -> None:
    """Its quiet visits are not those of a quiet machine; nor is such a latency called right."""
    restate(package, 1.0, 0.0, limits={})
    manifest = read_manifest(package)
    assert manifest.measured is not None
    first = manifest.measured
    now = dataclasses.replace(first.model, latency_ms=5.9, lower_ms=5.8, upper_ms=6.0)
    baseline: Any = SimpleNamespace(quiet_ms=4.0, windows=())
    check = latency_check(manifest, first, now, baseline, busy_share, Noise())
    assert check.ok is ok
    assert ("something else used the machine" in check.detail) is (ok is None)


def test_a_latency_stated_too_low_is_found_whatever_else_is_stated(
    package: Path, opener: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No limit, another quantile or a busy machine switches the comparison off."""
    conditions = read_plain_manifest(package)["conditions"]
    restate(package, 0.1, 0.07, limits={}, conditions=conditions | {"quantile": "p90"})
    found = failed(verify_package(package, opener=opener, cache=tmp_path))
    assert list(found) == ["latency"]
    assert "the manifest states at most 0.5" in found["latency"]
    assert "the manifest states a p90 of at most 0.5" in found["latency"]

    monkeypatch.setattr("profilers.protocol.QUIET_PAUSE_S", 0.0)
    reseal(package, conditions=conditions)
    rewrite(package)
    assert list(failed(verify_package(package, opener=opener, cache=tmp_path))) == ["latency"]
    monkeypatch.setattr("profilers.protocol.QUIET_PATIENCE_S", 0.0)
    slow = SyntheticMachine({"model": 10.0, "reference": 8.0})
    brief = Protocol(min_rounds=3, max_rounds=12)
    report = verify_package(package, opener=lambda *_: slow.open(), cache=tmp_path, protocol=brief)
    assert unchecked(report) == ["latency"]
    assert "as slow as it is when quiet" in report.checks[-1].detail


def test_a_good_package_does_not_fail_by_a_cache_that_hardly_knows_the_device(
    package: Path, opener: Callable[..., Any], tmp_path: Path
) -> None:
    """Compile accepted 5.0 ms under a limit of 5.2 by a record of some half minutes."""
    restate(package, 1.0, 0.01, limits={"latency_ms": 5.2})
    report = verify_package(package, opener=opener, cache=tmp_path / "new")
    assert unchecked(report) == ["latency"]
    assert "it may be under the limit or over it: verify again" in report.checks[-1].detail
    assert "this cache has seen the device for" in report.checks[-1].detail
    host = device_profiles.find("host")
    known = dataclasses.replace(host, noise=Noise(baseline_spread=0.001))
    assert verify_package(package, opener=opener, cache=tmp_path / "new", device=known).ok
    over = SyntheticMachine({"model": 5.5, "reference": 4.0})
    found = failed(
        verify_package(package, opener=lambda *_: over.open(), cache=tmp_path / "new", device=known)
    )
    assert "it is over the limit" in found["latency"]


@pytest.mark.parametrize(
    ("now_ms", "jitter", "ok"),
    [
        (0.1, 0.012, True),
        (0.117, 0.012, None),
        (0.117, 0.0, False),
        (0.14, 0.012, False),
        (0.14, 0.03, None),
    ],
)
def test_what_hardly_takes_any_time_is_not_failed_by_its_jitter(
    make_model: Callable[..., Path],
    make_manifest: Callable[..., Manifest],
    now_ms: float,
    jitter: float,
    ok: bool | None,
) -> None:
    """Two measurements of 0.1 ms differ by more than their bounds say: see `nasc.latency`."""
    model = make_model()
    job = profilers.ModelJob("model", model, {})

    def measured(value_ms: float) -> profilers.Measurement:
        machine = SyntheticMachine({"model": value_ms, "reference": 4.0})
        host = device_profiles.find("host")
        return profilers.measure([job], host, opener=lambda *_: machine.open())

    first = MeasuredLatency.of(job, measured(0.1))
    manifest = make_manifest(model, limits={}, measured=first)
    baseline: Any = SimpleNamespace(quiet_ms=4.0, windows=())
    check = latency_check(
        manifest,
        first,
        MeasuredLatency.of(job, measured(now_ms)),
        baseline,
        0.0,
        Noise(jitter_ms=jitter),
    )
    assert check.ok is ok
    told = f"measurements of such small networks differ by more ({jitter:g} ms)"
    assert (told in check.detail) is (ok is None)


@pytest.mark.parametrize(
    ("share", "busy_share", "ok", "message"),
    [
        (1.5, 0.1, True, "p50 of all runs"),
        (0.5, 0.1, None, "it may be under the limit or over it: verify again"),
        (-0.5, 0.1, False, "it is over the limit"),
        (-0.5, 0.3, None, "something else used the machine: verify again"),
    ],
)
def test_a_quantile_is_judged_by_what_was_observed(
    packed: Packages, share: float, busy_share: float, ok: bool | None, message: str
) -> None:
    """The limit lies so far between the quantile as observed (0) and its upper bound (1)."""
    manifest = read_manifest(packed["fp32", "embed"])
    assert manifest.measured is not None
    model = manifest.measured.model
    observed, upper = model.observed_ms("p50"), model.observed_upper_ms("p50")
    assert observed < upper
    manifest = dataclasses.replace(
        manifest,
        conditions=dataclasses.replace(manifest.conditions, quantile="p50"),
        limits={"latency_ms": observed + share * (upper - observed)},
    )
    baseline: Any = SimpleNamespace(quiet_ms=4.0, windows=())
    measured = manifest.measured
    check = latency_check(manifest, measured, measured, baseline, busy_share, Noise())
    assert check.ok is ok
    assert message in check.detail


def test_a_cache_that_has_only_seen_a_busy_machine_is_no_judge(
    packed: Packages, tmp_path: Path
) -> None:
    """As the quiet time of a new cache, recorded in five seconds beside others' work."""
    folder = packed["fp32", "embed"]
    busy = SyntheticMachine({"model": 7.5, "reference": 6.0})
    report = verify_package(folder, opener=lambda *_: busy.open(), cache=tmp_path / "a")
    assert unchecked(report) == ["latency"]
    assert "it was never quieter than 1.50 times what the package found" in report.checks[-1].detail
    slow = SyntheticMachine({"model": 9.0, "reference": 6.0})  # by any scale
    report = verify_package(folder, opener=lambda *_: slow.open(), cache=tmp_path / "b")
    assert list(failed(report)) == ["latency"]


@pytest.mark.parametrize(("stated_s", "lasts_s"), [(4.0, 4.0), (600.0, 600.0), (86_400.0, 600.0)])
def test_a_package_does_not_decide_for_how_many_hours_it_is_measured(
    stated_s: float, lasts_s: float
) -> None:
    stated: Any = SimpleNamespace(min_duration_s=stated_s)
    assert verify_latency._lasting(stated) == lasts_s
