"""Forged packages: whatever their own hashes vouch for, the program judges them.

Every package here has right hashes, as a forger would make them.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import onnx
import pytest
from endless import write_endless
from onnx import numpy_helper
from resealed import reseal, rewrite

from nasc.cli import main
from nasc.errors import PackageError
from nasc.package.formats.onnx_folder import OPERATORS
from nasc.package.golden import TEXTS, Golden
from nasc.package.hashes import SUMS
from nasc.package.manifest import Manifest
from nasc.package.process import PackageProcess
from nasc.package.read_manifest import MANIFEST, read_manifest, read_plain_manifest
from nasc.package.readme import readme
from nasc.package.verify import verify_package
from nasc.package.verify_report import VerifyReport
from profilers import MemoryExceeded, ModelJob, RuntimeMissing, WorkerDied, WorkerLimits
from profilers.results import FORMAT_VERSION

NAN = float("nan")
Packages = Mapping[tuple[str, str], Path]


@pytest.fixture
def package(packed: Packages, tmp_path: Path) -> Path:
    """A copy of the fp32 package that may be changed."""
    return Path(shutil.copytree(packed["fp32", "embed"], tmp_path / "package"))


def load(folder: Path, name: str = MANIFEST) -> Any:
    if name == MANIFEST:
        return read_plain_manifest(folder)
    return json.loads((folder / name).read_text(encoding="utf-8"))


def put(raw: Any, path: tuple[Any, ...], value: Any) -> None:
    for name in path[:-1]:
        raw = raw[name]
    raw[path[-1]] = value


def judge(folder: Path, **options: Any) -> dict[str, str]:
    """What fails, by its check."""
    report = verify_package(folder, measure=False, **options)
    assert not report.ok
    assert report.exit_code == 1
    return {check.name: check.detail for check in report.failed}


MEASURED = ("measured", "measurement")
MODEL = (*MEASURED, "models", 0)
SAMPLE = (*MODEL, "samples", 0)


@pytest.mark.usefixtures("shared_process")
@pytest.mark.parametrize(
    ("path", "value", "check", "message"),
    [
        (("limits", "latency_ms"), NAN, "manifest", "holds NaN, which is no number of JSON"),
        (("limits", "latency_ms"), math.inf, "manifest", "holds Infinity"),
        (("limits", "smell"), 1.0, "manifest", "'smell' is not one of"),
        (("quality", "pooled_cosine"), NAN, "manifest", "holds NaN"),
        ((*SAMPLE, "own_ms", 0), NAN, "manifest", "holds NaN"),
        ((*SAMPLE, "own_ms", 0), 0.0, "manifest", "own_ms = 0.0; it must be a finite number"),
        ((*SAMPLE, "own_ms", 0), 500.0, "manifest", "own_ms = 500.0 of a run that took"),
        ((*SAMPLE, "runs_ms"), [], "manifest", "runs_ms has 0 entries"),
        ((*SAMPLE, "round"), 10**12, "manifest", "round = 1000000000000"),
        ((*SAMPLE, "reference_before_ms"), 9.0, "measurement", "reference that it did not make"),
        ((*MODEL, "samples"), [], "manifest", "samples has 0 entries"),
        (("conditions", "batch"), 8, "conditions", r"int64 of shape \[1, 16\]"),
        (("conditions", "seq_len"), 512, "conditions", r"int64 of shape \[1, 16\]"),
        (("conditions", "seq_len"), 10**7, "manifest", r"seq_len: 10000000 is greater than"),
        (("conditions", "threads"), 4, "conditions", "threads: 4 in the conditions, 1 in the mea"),
        (("conditions", "threads"), 10**6, "manifest", r"threads: 1000000 is greater than"),
        (("conditions", "runtime"), "openvino", "conditions", "runtime: 'openvino' in the cond"),
        (
            ("conditions", "runtime"),
            "fastest",
            "manifest",
            "no packages for the runtime .fastest.; kn",
        ),
        (("conditions", "statistic"), "luck", "conditions", "statistic: 'luck' in the conditions"),
        (("conditions", "device"), "pixel6", "conditions", "device: 'pixel6' in the conditions"),
        (("conditions", "device"), "/etc/passwd", "manifest", r"\$\.conditions\.device"),
        (("conditions", "device"), "x/y", "manifest", r"\$\.conditions\.device"),
        (("conditions", "device"), "mine.toml", "manifest", r"\$\.conditions\.device"),
        ((*MEASURED, "options", "threads"), 64, "conditions", "1 in the conditions, 64 in the"),
        ((*MEASURED, "options", "threads"), 10**9, "manifest", "it must be at most 1024"),
        ((*MEASURED, "options", "cores"), [10**9], "manifest", "a core = 1000000000"),
        ((*MEASURED, "options", "runtime"), "../x", "conditions", "runtime: 'onnxruntime' in"),
        ((*MEASURED, "context", "device"), "other", "conditions", "device: 'host' in the"),
        ((*MEASURED, "statistic"), "luck", "conditions", "'luck' in the measurement"),
        ((*MEASURED, "version"), 99, "manifest", "no measurement of version"),
        (("measured", "inputs", "input_ids", "shape"), [2**20, 2**20], "manifest", "holds more"),
        (("measured", "inputs", "input_ids", "high"), 2**40, "conditions", "was drawn from"),
        (("measured", "inputs", "input_ids", "low"), -5, "conditions", "was drawn from"),
        (("measured", "inputs", "input_ids", "dtype"), "object", "manifest", "dtype"),
        (("measured", "inputs", "attention_mask", "low"), 0, "conditions", "was drawn from"),
        (("geometry", "layers"), 10**15, "manifest", r"\$\.geometry\.layers"),
        (("teacher", "name"), "\x1b[2J\x1b[31mgood", "manifest", r"control .*x1b\[2J"),
        (("text", "description"), "abc\u202edef", "manifest", "control characters"),
        (("attempts", 0, "note"), "\x9b31m", "manifest", "control characters"),
        (("versions", "nasc"), "9.9\n", "manifest", "control characters"),
        (("seeds", "a\x07"), 1, "manifest", "control characters"),
        (("versions", "nasc"), "0.0.1", "README", None),
        (("parity", "share"), 10**9, "parity", None),
        (("schema_version",), True, "manifest", "schema_version"),
    ],
)
def test_a_forged_manifest_is_judged_by_the_program(
    package: Path, path: tuple[Any, ...], value: Any, check: str, message: str | None
) -> None:
    raw = load(package)
    put(raw, path, value)
    if path == ("versions", "nasc") and message is None:
        (package / "README.md").write_text("as another release words it: 0.1 ms!")
    reseal(package, raw)
    found = judge(package)
    assert check in found, found
    if message is not None:
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(found[check])


@pytest.mark.usefixtures("shared_process")
def test_a_foreign_release_switches_no_check_off(package: Path) -> None:
    raw = load(package)
    raw["versions"]["nasc"] = "77.0"
    raw["measured"]["measurement"]["reference"]["quiet_ms"] *= 0.1
    model = onnx.load(package / "model.onnx")
    model.opset_import[0].version = 18
    onnx.save(model, package / "model.onnx")
    raw["size_bytes"] = (package / "model.onnx").stat().st_size
    (package / "README.md").write_text("anything")
    reseal(package, raw)
    found = judge(package)
    assert {"model", "README", "measurement"} <= found.keys()
    assert "the raw samples give" in found["measurement"]


@pytest.mark.usefixtures("shared_process")
def test_words_of_another_release_are_not_checked_its_figures_are(package: Path) -> None:
    text = (package / "README.md").read_text()
    (package / "README.md").write_text(text.replace("Check it all\nagain", "Verify it"))
    reseal(package, load(package))
    report = verify_package(package, measure=False)
    assert [check.name for check in report.not_checked] == ["README"]
    assert (report.ok, report.exit_code) == (False, 3)
    (package / "README.md").write_text(text.replace("| parameters | 5", "| parameters | 4"))
    reseal(package, load(package))
    assert "README" in judge(package)


def make_older(raw: dict[str, Any]) -> None:
    """Turn a manifest into one with a measurement of format 2, of before November 2026."""
    measurement = raw["measured"]["measurement"]
    measurement["version"] = 2
    measurement["statistic"] = raw["conditions"]["statistic"] = "paired-ratio-median"
    for name in ("level_ms", "is_quiet"):
        del measurement["models"][0][name]
    for name in ("upper_ms", "seconds"):
        del measurement["reference"][name]


@pytest.mark.usefixtures("shared_process")
def test_figures_of_an_older_format_are_not_checked_and_never_ok(package: Path) -> None:
    raw = load(package)
    make_older(raw)
    reseal(package, raw)
    rewrite(package)
    report = verify_package(package, measure=False)
    assert not report.failed, report.failed
    assert [check.name for check in report.not_checked] == ["measurement"]
    assert f"of measurement format 2, whose statistic this nasc (format {FORMAT_VERSION})" in str(
        report.not_checked[0]
    )
    assert report.exit_code == 3
    raw["measured"]["p90_ms"] = raw["measured"]["measurement"]["models"][0]["p90_ms"] = 0.1
    raw["measured"]["measurement"]["statistic"] = "luck"
    reseal(package, raw)
    found = judge(package)
    assert "p90_ms is 0.1, the raw samples give" in found["measurement"]
    assert "the one of record is 'paired-ratio-median'" in found["conditions"]


def without_texts(golden: dict[str, Any]) -> None:
    del golden["texts"][2:]


def constant(golden: dict[str, Any]) -> None:
    for one in golden["texts"]:
        one["vector"] = golden["texts"][0]["vector"]


@pytest.mark.usefixtures("shared_process")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.update(tolerance=10.0), r"allows differences of 10, fp32 of 0\.0001"),
        (lambda g: g.update(tolerance=1e-9), "allows differences of 1e-09"),
        (lambda g: g.update(tolerance=NAN), "holds NaN"),
        (lambda g: g.update(texts=[]), "it holds 0 texts, every package 12"),
        (lambda g: g["texts"].append(g["texts"][0]), "it holds 13 texts, every package 12"),
        (lambda g: put(g, ("texts", 3, "text"), "x"), "other texts than every package: 1 of 12"),
        (lambda g: g.update(texts="many"), "texts"),
        (without_texts, f"it holds 2 texts, every package {len(TEXTS)}"),
        (constant, "all texts have the same vector"),
        (lambda g: put(g, ("texts", 0, "vector"), [0.1]), "has 1 numbers, not 64"),
        (lambda g: put(g, ("texts", 0, "vector"), []), "vector"),
        (lambda g: put(g, ("texts", 0, "vector", 0), 1e300), r"1e\+300, which is no number"),
        (lambda g: put(g, ("texts", 0, "vector", 0), "0.1"), "'0.1', which is no number"),
        (lambda g: put(g, ("texts", 0, "input_ids", 0), -1), "-1, which is no token id"),
        (lambda g: put(g, ("texts", 0, "input_ids", 0), 5000), "ids beyond the 100 known"),
        (lambda g: put(g, ("texts", 0, "input_ids"), [1] * 60), "has 60 tokens, over 48"),
        (lambda g: g.update(version=0), "version"),
    ],
)
def test_golden_vectors_are_the_programs_to_judge(
    package: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    golden = load(package, "golden.json")
    change(golden)
    (package / "golden.json").write_text(json.dumps(golden), encoding="utf-8")
    reseal(package, load(package))
    found = judge(package)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found["golden vectors"])


@pytest.mark.usefixtures("shared_process")
def test_a_model_that_answers_nothing_fails_with_its_own_golden_vectors(package: Path) -> None:
    model = onnx.load(package / "model.onnx")
    for tensor in model.graph.initializer:
        if tensor.name.count(".") == 2:
            value = numpy_helper.to_array(tensor) * 0
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx.save(model, package / "model.onnx")
    golden = load(package, "golden.json")
    for one in golden["texts"]:
        one["vector"] = [0.0] * len(one["vector"])
    (package / "golden.json").write_text(json.dumps(golden), encoding="utf-8")
    reseal(package, load(package))
    assert "all texts have the same vector" in judge(package)["golden vectors"]


def test_nothing_is_opened_whose_hash_fails(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("a file was opened")

    for name in ("inspect", "token_ids", "wrong_companions", "encoder"):
        monkeypatch.setattr(PackageProcess, name, opened)
    monkeypatch.setattr(Golden, "read", opened)
    monkeypatch.setattr("nasc.package.verify_files.read_text", opened)
    data = (package / "tokenizer.json").read_bytes()
    (package / "tokenizer.json").write_bytes(data.replace(b"cat", b"dog"))
    report = verify_package(package, measure=False)
    assert {check.name for check in report.failed} == {"files"}
    why = "nothing of a package is opened whose files are not as hashed"
    unopened = {check.name for check in report.checks if check.detail == why}
    assert unopened == {
        *("model", "tokenizer", "files for other libraries", "golden vectors"),
        *("README", "measurement"),
    }


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFO")
@pytest.mark.timeout(60, func_only=True)
@pytest.mark.parametrize("name", [MANIFEST, SUMS, "model.onnx", "golden.json"])
def test_a_pipe_in_place_of_a_file_does_not_hang(package: Path, name: str) -> None:
    (package / name).unlink()
    os.mkfifo(package / name)
    assert judge(package).keys() & {"files", "manifest"}


def test_a_huge_file_of_nothing_is_not_read(package: Path) -> None:
    with (package / "model.onnx").open("r+b") as file:
        file.truncate(1 << 40)
    assert "model.onnx was changed" in judge(package)["files"]


def hostile(package: Path, model: Path) -> None:
    """Put a model in place of the package's, with its metadata."""
    own = onnx.load(package / "model.onnx")
    other = onnx.load(model)
    other.metadata_props.extend(own.metadata_props)
    del other.graph.initializer[1:]
    other.graph.initializer.extend(t for t in own.graph.initializer if t.name.count(".") == 2)
    onnx.save(other, package / "model.onnx")
    raw = load(package)
    raw["size_bytes"] = (package / "model.onnx").stat().st_size
    reseal(package, raw)


@pytest.mark.slow
@pytest.mark.timeout(120, func_only=True)
def test_a_model_without_an_end_is_ended(package: Path, tmp_path: Path) -> None:
    found = judge(package, limits=WorkerLimits(run_s=1e-6))
    assert found.keys() == {"golden vectors"}
    assert "did not finish one run within 1e-06 s" in found["golden vectors"]
    hostile(package, write_endless(tmp_path / "endless.onnx"))
    assert "the operator 'Loop' holds a graph of its own" in judge(package)["model"]
    data = tmp_path / "dev.csv"
    data.write_text("sentence1,sentence2,score\na,bb,5\nc,dddd,2\n")
    done = run("evaluate", package, "--task", "sts-b", "--data", data, "--run-timeout", 0.3)
    assert done.exit_code == 1
    assert "model.onnx' did not finish one run within 0.3 s" in done.stderr
    assert "--run-timeout SECONDS" in done.stderr


@pytest.mark.slow
def test_a_model_whose_weights_lie_elsewhere_is_not_opened(package: Path) -> None:
    model = onnx.load(package / "model.onnx")
    tensor = next(t for t in model.graph.initializer if t.name == "1.mha.o_weight")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../../../etc/passwd"), ("offset", "0"), ("length", "64")):
        tensor.external_data.add(key=key, value=value)
    (package / "model.onnx").write_bytes(model.SerializeToString())
    raw = load(package)
    raw["size_bytes"] = (package / "model.onnx").stat().st_size
    reseal(package, raw)
    report = verify_package(package, measure=False)
    outcome = {check.name: check for check in report.checks}
    assert "lies in another file, '../../../etc/passwd'" in outcome["model"].detail
    assert outcome["golden vectors"].ok is None
    assert "only a model that passes its check is run" in outcome["golden vectors"].detail


@pytest.mark.parametrize(
    "content", [b"", b"\x08", b"not a model" * 1000, b"\x3a\xff\xff\xff\xff\x0f", bytes(200)]
)
@pytest.mark.usefixtures("shared_process")
def test_a_file_that_is_no_model_is_a_message(package: Path, content: bytes) -> None:
    (package / "model.onnx").write_bytes(content)
    raw = load(package)
    raw["size_bytes"] = max(1, len(content))
    reseal(package, raw)
    assert "model" in judge(package)


def test_a_changed_package_is_not_evaluated(package: Path, tmp_path: Path) -> None:
    data = bytearray((package / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (package / "model.onnx").write_bytes(data)
    (tmp_path / "dev.csv").write_text("sentence1,sentence2,score\na,bb,5\nc,dddd,2\n")
    done = run("evaluate", package, "--task", "sts-b", "--data", tmp_path / "dev.csv")
    assert done.exit_code == 1
    assert "is not as it was made: model.onnx was changed. See all" in done.stderr


def run(*arguments: Any) -> click.testing.Result:
    return click.testing.CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.mark.slow
def test_exit_codes_tell_held_failed_and_not_checked(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("verify", package, "--no-measure", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["ok"], told["complete"], told["not_checked"]) == (True, True, [])

    monkeypatch.setattr("nasc.package.verify_latency.reference_hash", lambda kind: "0" * 16)
    done = run("verify", package)
    assert done.exit_code == 3
    assert "not checked  latency: it was measured against another reference" in done.stdout
    assert "Not checked: latency. Nothing of package" in done.stderr
    told = json.loads(run("verify", package, "--json").stdout)
    assert (told["ok"], told["complete"], told["not_checked"]) == (False, False, ["latency"])

    (package / "vocab.txt").write_text("x")
    done = run("verify", package)
    assert done.exit_code == 1
    assert "does not hold what it says" in done.stderr


def test_nothing_of_a_package_acts_on_the_terminal(package: Path) -> None:
    raw = load(package)
    raw["teacher"]["name"] = "\x1b]0;pwned\x07\u202e"
    reseal(package, raw)
    done = run("verify", package)
    assert done.exit_code == 1
    assert "\\x1b]0;pwned\\x07\\u202e" in done.output
    assert not {"\x1b", "\x07", "\u202e"} & set(done.output)
    strange = package / "a\x1b[2Jb"
    strange.write_text("x")
    assert "\x1b" not in run("verify", package).output


def test_the_readme_holds_no_markup_of_others(
    make_model: Callable[..., Path], make_manifest: Callable[..., Manifest]
) -> None:
    from nasc.package.records import TeacherRecord, TextRecord

    made = make_manifest(
        make_model(),
        teacher=TeacherRecord("[free](http://evil) <img src=x>\x1b", "0" * 64, "x"),
        text=TextRecord("a | b ``` \n# Not a title", "1" * 64),
    )
    assert made.teacher.name.endswith("\\x1b")
    text = readme(made)
    assert r"\[free\](http://evil) \<img src=x\>\\x1b" in text
    assert r"a \| b \`\`\` \\n# Not a title" in text


# Fuzz: every value of a manifest in turn, replaced by what nobody expects

WRONG: tuple[Any, ...] = (
    None,
    "",
    "text",
    "\x1b[31m",
    [],
    [[]],
    {},
    {"a": 1},
    True,
    0,
    -1,
    1.5,
    10**30,
    1e308,
    NAN,
    math.inf,
)

UNPROMISED = {
    *("attempts", "created", "licences", "parity", "peak_memory", "seeds", "teacher", "text"),
    *("training", "versions"),
}
"""Words on a package's making, which nothing can be held against: see docs/packages.md."""


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values; of long lists the first and the last."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in sorted({0, len(value) - 1} if value else ()):
            yield from places(value[index], (*path, index))


@pytest.mark.slow
@pytest.mark.usefixtures("shared_process")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_no_manifest_is_a_traceback(package: Path, count: int) -> None:
    chance = random.Random(0)
    whole = load(package)
    every = [path for path in places(whole) if path]
    for number in range(count):
        raw = copy.deepcopy(whole)
        path = chance.choice(every)
        if number % 6 == 0:
            inner = raw
            for name in path[:-1]:
                inner = inner[name]
            del inner[path[-1]]
        elif number % 6 == 1:
            put(raw, (*path[:-1], "unknown") if isinstance(path[-1], str) else path, 1)
        else:
            put(raw, path, chance.choice(WRONG))
        reseal(package, raw)
        if number % 7 == 0:  # as a program calls it
            with contextlib.suppress(PackageError):
                read_manifest(package)
        report = verify_package(package, measure=False)
        assert isinstance(report, VerifyReport)
        json.dumps(report.to_dict(), allow_nan=False)
        assert "Traceback" not in str(report.checks)
        same = raw == whole or raw | {"task": raw.get("task")} == whole  # no task is left out too
        unfelt = path[0] in UNPROMISED or same or path[:2] == MEASURED
        assert not report.ok or unfelt, (path, raw)


@pytest.mark.usefixtures("shared_process")
@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"1", b'"x"', b"{", b"\xff", b"{}"])
def test_no_text_in_place_of_a_manifest_is_a_traceback(package: Path, content: bytes) -> None:
    (package / MANIFEST).write_bytes(content)
    assert judge(package).keys() == {"manifest"}
    (package / MANIFEST).write_bytes(b"[" * 100_000)
    assert "nested too deeply" in judge(package)["manifest"]
    with pytest.raises(PackageError, match="cannot be read"):
        read_manifest(package)


def test_a_manifest_of_too_many_values_is_refused(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasc.package.manifest_schema.MAX_VALUES", 20_000)
    raw = load(package)
    raw["attempts"] = [{"x": [0] * 20_000}]
    reseal(package, raw)
    assert "holds more than 20,000 values" in judge(package)["manifest"]
    with (package / MANIFEST).open("r+b") as file:
        file.truncate(1 << 36)
    assert "at most 33,554,432 are read" in judge(package)["manifest"]


def test_the_outputs_of_a_package_are_those_it_runs_with(
    package: Path, process: PackageProcess
) -> None:
    """The process gives the same numbers as a session in this one."""
    from nasc.evaluation.encoder import Encoder

    ids = [[2, 10, 3], [2, 11, 12, 13, 3]]
    here = Encoder(package / "model.onnx").outputs(ids)
    there = process.encoder(package / "model.onnx", runtime="onnxruntime").outputs(ids)
    assert np.array_equal(np.stack(here), np.stack(there))


def put_model(package: Path, model: onnx.ModelProto) -> None:
    """A model in place of the package's, with a measurement that is said to be of it."""
    (package / "model.onnx").write_bytes(model.SerializeToString())
    raw = load(package)
    raw["size_bytes"] = (package / "model.onnx").stat().st_size
    measured = read_manifest(package).measured
    assert measured is not None
    job = ModelJob("model", package / "model.onnx", measured.inputs)
    put(raw, (*MODEL, "content_hash"), job.content_hash())
    reseal(package, raw)
    rewrite(package)


def branch_in(model: onnx.ModelProto) -> None:
    branch = onnx.helper.make_graph([], "branch", [], [])
    node = onnx.helper.make_node("If", ["sentence_embedding"], ["x"], then_branch=branch)
    model.graph.node.append(node)


def call_in(model: onnx.ModelProto) -> None:
    body = [onnx.helper.make_node("Identity", ["a"], ["b"])]
    opset = onnx.helper.make_opsetid("", 20)
    model.functions.append(onnx.helper.make_function("", "Mine", ["a"], ["b"], body, [opset]))


def identity_in(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, onnx.helper.make_node("Identity", ["input_ids"], ["unused"]))


def third_output_in(model: onnx.ModelProto) -> None:
    model.graph.output.append(model.graph.output[0])
    model.graph.output[-1].name = model.graph.node[-2].input[0]  # of the same shape


@pytest.mark.usefixtures("shared_process")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (branch_in, "the operator 'If' holds a graph of its own"),
        (call_in, "it holds functions of its own, 'Mine' first"),
        (identity_in, "the operator 'Identity' is none of nasc's"),
        (lambda model: model.graph.output.reverse(), "outputs last_hidden_state, sentence_emb"),
        (third_output_in, "outputs sentence_embedding, last_hidden_state, "),
    ],
)
def test_a_model_that_nasc_would_not_write_fails(
    package: Path, change: Callable[[onnx.ModelProto], object], message: str
) -> None:
    model = onnx.load(package / "model.onnx")
    change(model)
    put_model(package, model)
    assert message in judge(package)["model"]


@pytest.mark.usefixtures("shared_process")
def test_operators_of_all_networks_are_known(packed: Packages) -> None:
    found = {
        node.op_type
        for folder in packed.values()
        for node in onnx.load(folder / "model.onnx").graph.node
    }
    rotary = {
        "Cos",
        "Sin",
    }  # of ModernBERT, whose graphs teacher/test_modernbert.py has
    assert found | {"ReduceL2"} | rotary == OPERATORS


@pytest.mark.usefixtures("shared_process")
def test_what_libraries_that_pool_tokens_read_is_the_vector(package: Path) -> None:
    model = onnx.load(package / "model.onnx")
    node = model.graph.node[-1]
    assert (node.op_type, node.output[0]) == ("Unsqueeze", "last_hidden_state")
    negated = onnx.helper.make_node("Sub", ["sentence_embedding", "sentence_embedding"], ["other"])
    model.graph.node.insert(len(model.graph.node) - 1, negated)
    node.input[0] = "other"
    put_model(package, model)
    found = judge(package)
    assert found.keys() == {"golden vectors"}
    assert "the second output of the model" in found["golden vectors"]


@pytest.mark.usefixtures("shared_process")
def test_a_model_of_before_with_one_output_passes(package: Path) -> None:
    model = onnx.load(package / "model.onnx")
    del model.graph.output[1:], model.graph.node[-1:]
    put_model(package, model)
    report = verify_package(package, measure=False)
    assert report.ok, report.failed


def changed_json(name: str, **fields: Any) -> Callable[[Path], object]:
    def change(package: Path) -> None:
        raw = load(package, name)
        (package / name).write_text(json.dumps(raw | fields, indent=1) + "\n", encoding="utf-8")

    return change


@pytest.mark.usefixtures("shared_process")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed_json("1_Pooling/config.json", pooling_mode_mean_tokens=True), "1_Pooling/config"),
        (changed_json("sentence_bert_config.json", max_seq_length=8), "sentence_bert_config.json"),
        (changed_json("config.json", vocab_size=1), "config.json is missing, or not as nasc"),
        (changed_json("config.json", pad_token_id=7), "config.json: pad_token_id is not 0"),
        (lambda package: (package / "modules.json").unlink(), "modules.json is missing"),
        (changed_json("tokenizer_config.json", model_max_length=8), "model_max_length is 8, not"),
        (changed_json("tokenizer_config.json", auto_map={}), "nasc writes no auto_map"),
        (changed_json("tokenizer_config.json", do_lower_case=True), "nasc writes no do_lower_case"),
        (changed_json("tokenizer_config.json", tokenizer_class="X"), "tokenizer_class is 'X', not"),
        (changed_json("tokenizer_config.json", padding_side="left"), "padding_side is 'left'"),
        (changed_json("tokenizer_config.json", cls_token="cat"), "cls_token is 'cat', not '.CLS"),
        (changed_json("tokenizer_config.json", eos_token={"content": "cat"}), "eos_token is 'cat'"),
        (
            changed_json("tokenizer_config.json", extra_special_tokens=["the"]),
            "extra_special_tokens 'the' is no added token",
        ),
        (
            changed_json("tokenizer_config.json", added_tokens_decoder={"9": {"content": "the"}}),
            "added_tokens_decoder differs",
        ),
        (changed_json("special_tokens_map.json", sep_token="the"), "sep_token 'the' is no added"),
        (lambda package: (package / "vocab.txt").write_text("[PAD]\n"), "vocab.txt differs"),
    ],
)
def test_files_that_the_readme_recommends_are_the_programs(
    package: Path, change: Callable[[Path], object], message: str
) -> None:
    change(package)
    reseal(package, load(package))
    rewrite(package)
    found = judge(package)
    assert found.keys() == {"files for other libraries"}
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found["files for other libraries"])


@pytest.mark.usefixtures("shared_process")
@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "1_Pooling/x.py"])
def test_files_that_nasc_does_not_write_are_refused_though_listed(package: Path, name: str) -> None:
    (package / name).write_bytes(b"x")
    reseal(package, load(package))
    assert judge(package) == {"files": f"{name} is no file that nasc writes"}


@pytest.mark.usefixtures("shared_process")
def test_a_figure_below_the_fastest_run_fails_in_every_format(package: Path) -> None:
    """As 7.44 ms, at most 7.81, of a file whose fastest run took 8.64."""
    raw = load(package)
    make_older(raw)
    for figures in (raw["measured"], raw["measured"]["measurement"]["models"][0]):
        figures |= {"latency_ms": 4.4, "lower_ms": 4.3, "upper_ms": 4.6}
    reseal(package, raw)
    rewrite(package)
    found = judge(package)
    assert found.keys() == {"measurement"}
    assert "contradicts its own runs: the latency is 4.4 ms" in found["measurement"]


@pytest.mark.usefixtures("shared_process")
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((*MODEL, "ratio"), 0.5),
        ((*MODEL, "ratio_lower"), 0.5),
        ((*MODEL, "ratio_upper"), 0.5),
        ((*MODEL, "level_ms"), 1.0),
        ((*MODEL, "half_width"), 0.0),
        ((*MODEL, "is_quiet"), None),
        ((*MODEL, "converged"), None),
        ((*MODEL, "rounds_used"), 500),
        ((*MEASURED, "reference", "observed_ms"), 1.0),
        ((*MEASURED, "drift_ratio"), 1.5),
        ((*MEASURED, "drift"), None),
        ((*MEASURED, "busy_share"), 0.9),
        ((*MEASURED, "busy"), None),
        ((*MEASURED, "converged"), None),
        ((*MEASURED, "rounds"), 500),
    ],
)
def test_every_figure_of_a_measurement_follows_from_its_samples(
    package: Path, path: tuple[Any, ...], value: Any
) -> None:
    raw = load(package)
    inner = raw
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = not inner[path[-1]] if value is None else value
    reseal(package, raw)
    found = judge(package)
    assert found.keys() == {"measurement"}
    assert "the raw samples give" in found["measurement"]
    assert path[-1] in found["measurement"]


@pytest.mark.usefixtures("shared_process")
@pytest.mark.parametrize(
    ("name", "value", "own"),
    [("arena", False, True), ("spinning", False, True), ("graph_optimization", "basic", "all")],
)
def test_the_runtime_is_set_up_as_the_program_does(
    package: Path, name: str, value: Any, own: Any
) -> None:
    raw = load(package)
    put(raw, (*MEASURED, "options", name), value)
    reseal(package, raw)
    message = f"measured with {name} {value!r}, nasc measures with {own!r}"
    assert message in judge(package)["conditions"]


@pytest.mark.usefixtures("shared_process")
def test_other_cores_are_another_measurement(
    package: Path, opener: Callable[..., Any], tmp_path: Path
) -> None:
    raw = load(package)
    put(raw, (*MEASURED, "options", "cores"), [0])
    reseal(package, raw)
    report = verify_package(package, opener=opener, cache=tmp_path)
    assert (report.checks[-1].name, report.checks[-1].ok) == ("latency", None)
    message = "measured with cores [0], on device 'host' nasc measures with None"
    assert message in report.checks[-1].detail


@pytest.mark.parametrize(
    "error",
    [
        WorkerDied("the worker did not start"),
        RuntimeMissing("no onnxruntime here"),
        MemoryExceeded("it needs more memory than it may have"),
        PermissionError(13, "Permission denied"),
        MemoryError(),
    ],
)
def test_what_only_this_machine_cannot_do_blames_no_package(
    package: Path, monkeypatch: pytest.MonkeyPatch, opener: Callable[..., Any], error: Exception
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("nasc.package.process.LocalWorker", broken)
    report = verify_package(package, opener=opener)
    assert (report.failed, report.exit_code) == ((), 3)
    unchecked = [check.name for check in report.not_checked]
    assert unchecked == [
        *("model", "tokenizer", "files for other libraries", "golden vectors", "latency")
    ]
    assert type(error).__name__ in report.not_checked[0].detail
    assert "only a model that passes its checks is measured" in report.checks[-1].detail


def test_a_manifest_that_may_not_be_read_blames_no_package(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("nasc.package.read_manifest.read_json", refused)
    report = verify_package(package)
    assert (report.failed, report.exit_code) == ((), 3)
    assert "Permission denied" in report.checks[0].detail


@pytest.mark.usefixtures("shared_process")
def test_advice_is_about_what_was_not_checked(package: Path) -> None:
    text = (package / "README.md").read_text()
    (package / "README.md").write_text(text.replace("Check it all\nagain", "Verify it"))
    reseal(package, load(package))
    done = run("verify", package, "--no-measure")
    assert done.exit_code == 3
    assert "Not checked: README. Nothing of package" in done.stderr
    assert "--no-measure" not in done.stderr
