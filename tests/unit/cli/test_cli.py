"""The command line: help, messages and exit codes; nothing is measured or trained here."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from nasc import __version__
from nasc.architecture.space import PRECISIONS
from nasc.cli import main, options
from nasc.errors import TaskDataError
from nasc.lowering import PRECISIONS as LOWERED
from nasc.package.formats import FORMATS
from nasc.tasks.squad import read_squad
from nasc.tasks.tables import read_rows

COMMANDS = sorted(main.commands)


def refused(result: Result, code: int, *parts: str) -> None:
    """One message on stderr, nothing on stdout, the right exit code."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert result.stderr.count("Error: ") == 1
    flat = " ".join(result.stderr.split())
    for part in parts:
        assert part in flat


# Help


def test_the_commands() -> None:
    assert set(COMMANDS) >= {
        *("profile", "train", "search", "compile", "verify", "evaluate", "bench", "devices"),
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_of_the_command(command: str, nasc: Callable[..., Result]) -> None:
    result = nasc(command, "--help")
    assert result.exit_code == 0
    assert f"Example: nasc {command}" in result.stdout
    assert "--json" in result.stdout
    assert "None]" not in result.stdout, "a bound that there is not"
    assert nasc(command, "-h").stdout == result.stdout


@pytest.mark.parametrize("command", ["profile", "train", "search", "compile"])
def test_what_is_random_takes_a_seed(command: str, nasc: Callable[..., Result]) -> None:
    assert "--seed" in nasc(command, "--help").stdout


def test_the_help_of_compile_says_what_each_format_is(nasc: Callable[..., Result]) -> None:
    shown = "".join(nasc("compile", "--help").stdout.split())  # lines may end after a hyphen
    for name in options.FORMATS:
        assert f"{name}:" in shown
    assert "'.[runner,tvm]'" in shown


def test_the_whole_help_and_the_version(nasc: Callable[..., Result]) -> None:
    result = nasc("--help")
    assert result.exit_code == 0
    for command in COMMANDS:
        assert f"\n  {command}" in result.stdout
    assert nasc("--version").stdout.strip().endswith(__version__)


def test_help_loads_no_torch() -> None:
    code = (
        "import sys\nfrom nasc.cli import main\n"
        "try: main(['compile', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'onnxruntime', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_estimate_needs_what_is_stated_of_the_device(nasc: Callable[..., Result]) -> None:
    for command in (("search",), ("compile", "--latency-ms", "5")):
        refused(
            nasc(*command, "--estimate"), 2, "states no [[peaks]]", "nasc profile --device host"
        )
    other = nasc("search", "--device", "pixel6", "--estimate", "--runtime", "openvino")
    refused(other, 2, "--estimate knows onnxruntime alone, not --runtime openvino")


def test_an_estimate_says_so(nasc: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the tables that are searched, see `test_compile_made_up_device.py`."""
    seen = []

    def search(limits: object, settings: Any, **options: object) -> list[object]:
        seen.append(settings.estimate)
        return []

    monkeypatch.setattr("nasc.pipelines.search.search", search)
    plain, estimated = (nasc("search", *more) for more in ((), ("--estimate",)))
    assert seen == [False, True]
    assert estimated.stderr.startswith("ESTIMATE, not measured; ")
    assert "ms (ESTIMATE)" in estimated.stdout
    assert "ESTIMATE" not in plain.stderr + plain.stdout


def test_a_device_out_of_reach_is_one_error_with_the_ways_on(nasc: Callable[..., Result]) -> None:
    for command in ("search", "compile"):
        done = nasc(command, "--device", "pixel6", "--latency-ms", "5")
        refused(done, 1, "no latency table can be measured on device 'pixel6'", "Ways on: ",
                "--from-table DEVICE", "no measurement: --estimate")  # fmt: skip


def test_an_unknown_command_suggests_one(nasc: Callable[..., Result]) -> None:
    refused(nasc("complie"), 2, "No such command 'complie'", "Did you mean 'compile'?")
    refused(nasc("xyzzy"), 2, "No such command 'xyzzy'")


def test_an_unknown_option_suggests_one(nasc: Callable[..., Result]) -> None:
    refused(nasc("compile", "--latency", "5"), 2, "No such option", "--latency-ms")


def test_the_defaults_named_are_those_of_the_code(nasc: Callable[..., Result]) -> None:
    from nasc.context.settings import TRAIN_MINUTES
    from nasc.pipelines.options import DISTILL_MINUTES

    compiling = " ".join(nasc("compile", "--help").stdout.split())
    assert f"[default where none is at hand: {TRAIN_MINUTES:g}]" in compiling
    assert f"the chosen network [default: {DISTILL_MINUTES:g}]" in compiling
    assert f"Budget [default: {TRAIN_MINUTES:g}]" in nasc("train", "--help").stdout


def test_the_tasks_named_are_those_of_the_code() -> None:
    from nasc.cli import options
    from nasc.pipelines.score_vectors import QUERY_TASKS
    from nasc.tasks import squad
    from nasc.tasks.glue import TASKS

    assert (*TASKS, squad.NAME) == options.TASKS
    assert options.VECTOR_TASKS == QUERY_TASKS


def test_the_networks_named_are_those_of_the_code(nasc: Callable[..., Result]) -> None:
    from nasc.architecture.zoo import ZOO

    shown = "".join(nasc("distill", "--help").stdout.split())  # lines may end after a hyphen
    assert f"scratch:{','.join(ZOO)}." in shown


# Completion in a shell


def completed(*words: str) -> list[str]:
    """What bash is offered for the last word, by the words before it; last the heavy imports."""
    code = (
        "import sys\nfrom nasc.cli import main\n"
        "try: main(prog_name='nasc')\n"
        "except SystemExit: pass\n"
        "print(*sorted({'torch', 'onnxruntime', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    environ = {
        **os.environ,
        "_NASC_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(("nasc", *words)),
        "COMP_CWORD": str(len(words)),
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ)
    offered = done.stdout.splitlines()
    assert offered.pop() == ""
    return offered


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("dev",), ["plain,devices"]),
        (("bench", "--device", "p"), ["plain,pixel6"]),
        (("bench", "--device", "./b"), ["file,./b"]),
        (("compile", "--teacher", "mini"), ["dir,mini"]),
        (("compile", "--space", "nas"), ["plain,nas-bert"]),
        (("compile", "--precision", "i"), ["plain,int8", "plain,int8-emb4"]),
        (("compile", "--task", "SST"), ["plain,sst-2"]),
        (("tables", "imp"), ["plain,import"]),
        (("tables", "show", "./board"), ["file,./board"]),
    ],
)
def test_a_shell_completes_what_is_known(words: tuple[str, ...], offered: list[str]) -> None:
    assert completed(*words) == offered


def test_the_completion_of_shells_can_be_switched_on() -> None:
    for shell in ("bash", "zsh", "fish"):
        code = "from nasc.cli import main; main(prog_name='nasc')"
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={**os.environ, "_NASC_COMPLETE": f"{shell}_source"},
        )
        assert done.returncode == 0, done.stderr
        assert "_nasc_completion" in done.stdout


# Limits


@pytest.mark.parametrize("command", ["compile", "search"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--latency-ms", value) for value in ("0", "-3", "fast", "nan", "inf", "")),
        *(("--size-bytes", value) for value in ("0", "-3", "big", "nan", "20XB", "1.2.3")),
        *(("--params", value) for value in ("0", "0M", "M")),
        *(("--peak-memory-bytes", value) for value in ("0", "-1MB")),
    ],
)
def test_limits_that_are_no_positive_numbers(
    command: str, option: str, value: str, nasc: Callable[..., Result]
) -> None:
    refused(nasc(command, option, value), 2, option)


def test_no_limit_at_all(nasc: Callable[..., Result]) -> None:
    refused(nasc("compile"), 2, "no limit given; give at least one of --latency-ms")


def test_the_limits_named_are_options(nasc: Callable[..., Result]) -> None:
    shown = nasc("compile", "--help").stdout
    message = nasc("compile").stderr
    for word in message.replace(",", " ").split():
        if word.startswith("--"):
            assert word in shown


def test_a_quantile_without_a_latency_limit(nasc: Callable[..., Result]) -> None:
    refused(
        nasc("compile", "--params", "5M", "--quantile", "p90"),
        2,
        "--quantile says what --latency-ms is held to: give --latency-ms too",
    )


# Contradictions and values out of range


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "compile --latency-ms 5 --distill-minutes 1 --distill-steps 3",
            "give --distill-minutes or --distill-steps, not both",
        ),
        (
            "compile --latency-ms 5 --train-minutes 1 --train-steps 3",
            "--train-minutes and --train-steps each say",
        ),
        ("train --minutes 1 --steps 3", "give --minutes or --steps, not both"),
        ("train --bins 3", "--bins goes with --shrink"),
        ("train --seq-len 3", "--seq-len goes with --shrink"),
        ("train --shrink --sampling balanced", "--sampling balanced does not go with --shrink"),
        ("finetune --task rte --train x --output y --epochs 1 --steps 1", "not both"),
        ("finetune --task rte --train x --output y --distill-weight 1", "goes with --distill-from"),
        ("distill keep --output y --minutes 1 --steps 1", "not both"),
        ("search --plot front.png", "--plot draws the front: give --front too"),
        ("search --front --strategy enumerate", "--strategy finds some networks, --front"),
        ("search --front --best 3", "--front is the whole front, --best some networks"),
        ("search --front --plot front.xyz", "cannot draw to 'front.xyz'; formats: "),
        ("compile --latency-ms 5 --supernet s.safetensors --train-minutes 3", "give one of them"),
        ("compile --latency-ms 5 --supernet s.safetensors --train-steps 3", "give one of them"),
        ("compile --latency-ms 5 --train-minutes -1", "must be from 0 to 527,040 (a year), got -1"),
        ("compile --latency-ms 5 --train-minutes 1e308", "(a year), got 1e+308"),
        ("compile --latency-ms 5 --distill-minutes nan", "'nan' is not a number"),
        ("train --minutes inf", "'inf' is not a number"),
        ("compile --latency-ms 5 --quantile p42", "'p42' is not one of 'p50', 'p90', 'p99'"),
        ("compile --latency-ms 5 --precision int4", "'int4' is not one of 'fp32', 'tf32', 'bf16'"),
        ("compile --latency-ms 5 --min-quality 0.9", "write NAME=VALUE, as in pooled_cosine=0.9"),
        ("compile --latency-ms 5 --min-quality cos=0.9", "unknown quality 'cos'; known: pooled"),
        ("compile --latency-ms 5 --min-quality pooled_cosine=90", "must be in [-1, 1]"),
        *(
            (
                f"compile --latency-ms 5 --min-quality pooled_cosine={text}",
                "write NAME=VALUE, as in",
            )
            for text in ("nan", "0.9_5", "\u0660.\u0669", "", "9" * 50)
        ),
        ("compile --latency-ms 5,fast", "'fast' is not a number"),
        ("compile --latency-ms 5,-1 --device host", "-1.0 is not in the range x>0"),
        ("compile --latency-ms 5,6 --device host", "2 latency limits for 1 devices: give one for"),
        ("compile --latency-ms 5 --device host,host", "--device names 'host' twice: give each"),
        ("compile --latency-ms 5 --seq-len 0", "0 is not in the range x>=1"),
        ("compile --latency-ms 5 --seed -1", "-1 is not in the range 0<=x<=4294967295"),
        ("evaluate package --task sst --data x.tsv", "'sst' is not one of 'cola'"),
        ("evaluate package --task sst-2 --data x --queries 9", "--queries goes with --task retr"),
        ("finetune --task ranking --train x --output y", "'ranking' is not one of 'cola'"),
        *(
            (f"bench model.onnx --dim {text}", f"value for --dim: '{text}': write NAME=SIZE")
            for text in ("length", "x=nan", "x=inf", "x=2.9", "x=0", "x=-1", "=3", "x=")
        ),
        *(
            (f"bench model.onnx --shape {text}", f"value for --shape: '{text}': write INPUT=SIZES")
            for text in ("x", "x=", "=1,2", "x=1,,2", "x=1,a", "x=1_0", "x=\u0661")
        ),
        ("bench", "Missing argument 'MODELS...'"),
    ],
)
def test_options_that_make_no_sense(
    arguments: str, message: str, nasc: Callable[..., Result]
) -> None:
    refused(nasc(*arguments.split()), 2, message)


# Things that are not there


@pytest.mark.parametrize(
    "command", ["compile --latency-ms 5", "search", "profile --space minilm-l6", "bench m.onnx"]
)
def test_an_unknown_device_suggests_one(command: str, nasc: Callable[..., Result]) -> None:
    result = nasc(*command.split(), "--device", "pixel")
    refused(result, 2, "unknown device 'pixel'", "Did you mean 'pixel6'?", "nasc devices")


def test_an_unknown_space_names_the_presets(
    nasc: Callable[..., Result], teacher_folder: Callable[..., Path]
) -> None:
    refused(nasc("profile", "--space", "minilm"), 2, "Presets: minilm-l6, minilm-l12,")
    teacher = teacher_folder()
    refused(nasc("search", "--teacher", teacher, "--space", "minilm-l6"), 2, "'minilm-l6' is for")


def test_a_missing_teacher(nasc: Callable[..., Result], tmp_path: Path) -> None:
    refused(nasc("train", "--teacher", tmp_path / "nothing", "--steps", "1"), 1, "nothing")


@pytest.mark.slow
def test_a_name_that_is_too_long_is_one_message(
    nasc: Callable[..., Result], teacher_folder: Callable[..., Path]
) -> None:
    name = "x" * 300
    teacher = ("--teacher", teacher_folder())
    for arguments, code, words in (
        (("report", name), 1, "File name too long"),
        (("search", *teacher, "--supernet", name), 1, "File name too long"),
        (("search", *teacher, "--space", name), 2, "no search space"),
        (("bench", name), 1, "File name too long"),
        (("verify", name), 1, "File name too long"),
        (("profile", "--device", f"{name}.toml"), 2, "File name too long"),
    ):
        result = nasc(*arguments)
        refused(result, code, words)
        assert "is kept" not in result.stderr


def test_the_home_of_nobody_is_a_name_like_others(
    nasc: Callable[..., Result], tmp_path: Path, teacher_folder: Callable[..., Path]
) -> None:
    name = "~nobody-of-this-name/x"
    space = toy_space_file(tmp_path, teacher_folder)
    start = ("train", "--teacher", teacher_folder(), "--space", space, "--steps", "1")
    for arguments in (
        (*start, "--corpus", name),
        ("train", "--steps", "1", "--teacher", name),
        ("verify", name),
        ("evaluate", name, "--task", "sts-b", "--data", "dev.tsv"),
        ("compile", "--latency-ms", "5", "--sts-data", name),
    ):
        result = nasc(*arguments)
        assert isinstance(result.exception, SystemExit), arguments
        assert name in result.stderr
    with pytest.raises(TaskDataError, match=name):
        read_rows(Path(f"{name}.tsv"), "data")
    with pytest.raises(TaskDataError, match=name):
        read_squad(f"{name}.json")


def test_a_missing_corpus(
    nasc: Callable[..., Result], tmp_path: Path, teacher_folder: Callable[..., Path]
) -> None:
    space = toy_space_file(tmp_path, teacher_folder)
    start = ("train", "--teacher", teacher_folder(), "--space", space, "--steps", "1")
    refused(nasc(*start, "--corpus", "nowhere.txt"), 1, "nowhere.txt")
    (tmp_path / "noise.txt").write_bytes(bytes(range(256)) * 40)
    refused(nasc(*start, "--corpus", "noise.txt"), 1, "noise.txt")
    (tmp_path / "empty.txt").write_text("")
    refused(nasc(*start, "--corpus", "empty.txt"), 1, "empty.txt")


def test_existing_output_is_not_replaced(nasc: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "notes").write_text("mine")
    for force in ((), ("--force",)):
        result = nasc("compile", "--latency-ms", "5", "--output", "package", *force)
        refused(result, 1, "'package' exists and is no package: it is never replaced")
    (tmp_path / "supernet.safetensors").write_text("mine")
    refused(nasc("train", "--steps", "1"), 2, "'supernet.safetensors' exists", "--force")
    assert (tmp_path / "supernet.safetensors").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments", ["verify nowhere", "evaluate nowhere --task sts-b --data dev.tsv"]
)
def test_a_package_that_is_not_there(arguments: str, nasc: Callable[..., Result]) -> None:
    result = nasc(*arguments.split())
    assert result.exit_code == 1
    assert "nowhere" in result.stderr
    assert "Traceback" not in result.output


def test_a_cache_that_cannot_be_written(nasc: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = nasc("search", "--cache", tmp_path / "file" / "cache")
    refused(result, 1, "cannot write to the cache folder", "--cache DIR")


def test_an_output_that_cannot_be_written_is_found_first(
    nasc: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = nasc("compile", "--latency-ms", 5, "--output", tmp_path / "file" / "package")
    refused(result, 1, "cannot write the package", "--output DIR")
    assert not list((tmp_path / "cache").rglob("*"))


def test_labels_are_read_before_anything_slow(nasc: Callable[..., Result], tmp_path: Path) -> None:
    for option in ("--sts-data", "--retrieval-data"):
        refused(nasc("compile", "--latency-ms", 5, option, "dev.tsv"), 1, "dev.tsv")
    assert not list((tmp_path / "cache").rglob("*"))


def test_a_full_disk_is_one_message(
    nasc: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    import device_profiles

    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere")

    monkeypatch.setattr(device_profiles, "available", full)
    refused(nasc("devices"), 1, "No space left on device: '/somewhere'", "Free some space")


def test_a_gpu_without_memory_is_one_message(
    nasc: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    import device_profiles

    def full(**_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(device_profiles, "available", full)
    refused(nasc("devices"), 1, "no memory left", "CUDA_VISIBLE_DEVICES")


def test_a_bug_keeps_its_traceback(
    nasc: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    import device_profiles

    def bug(**_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(device_profiles, "available", bug)
    with pytest.raises(RuntimeError, match="a bug"):
        nasc("devices")


# Output for programs


def test_json_is_all_that_stdout_holds(nasc: Callable[..., Result]) -> None:
    rows = json.loads(nasc("devices", "--json").stdout)
    by_name = {row["name"]: row for row in rows}
    assert by_name["host"]["reachable"] is True
    assert by_name["pixel6"]["reachable"] is False
    assert by_name["pixel6"]["reason"]


@pytest.mark.slow
def test_devices_say_what_each_can_do(
    nasc: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    from profilers.runtimes import NAMES

    by_name = {row["name"]: row for row in json.loads(nasc("devices", "--json").stdout)}
    host, pixel6 = by_name["host"], by_name["pixel6"]
    assert [runtime["name"] for runtime in host["runtimes"]] == list(NAMES)
    assert host["runtimes"][0] == {
        "name": "onnxruntime",
        "default": True,
        "installed": True,
        "version": importlib.metadata.version("onnxruntime"),
        "precisions": ["fp32", "int8", "int8-emb4"],
        "reason": "",
    }
    computed = {p for runtime in host["runtimes"] for p in runtime["precisions"]}
    assert host["precisions"] == [p for p in PRECISIONS if p in computed]
    assert computed >= {"fp32", "int8"}
    assert host["threads"] == {"default": 1, "maximum": len(os.sched_getaffinity(0))}
    assert [cluster["count"] for cluster in host["clusters"]] == [os.cpu_count()]
    assert Path(host["path"]).is_file()
    (runtime,) = pixel6["runtimes"]
    assert (runtime["installed"], runtime["version"]) == (None, None)  # nobody can look there
    assert pixel6["threads"] == {"default": 1, "maximum": 8}
    assert pixel6["clusters"][0] == {"core": "Cortex-X1", "count": 2, "ids": [6, 7]}
    assert "4 x Cortex-A55" in nasc("devices").stdout
    monkeypatch.setattr("profilers.runtimes.importlib.util.find_spec", lambda name: None)
    assert "onnxruntime not installed: fp32, int8" in nasc("devices").stdout


def test_a_wrong_device_file_hides_no_other(
    nasc: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine\\u001b[31m"\n', encoding="utf-8")
    monkeypatch.setattr("device_profiles.user_folder", lambda: tmp_path)
    result = nasc("devices", "--json")
    assert result.exit_code == 0
    assert {"host", "pixel6"} < {row["name"] for row in json.loads(result.stdout)}
    assert "left out: the device file" in result.stderr
    assert "mine.toml' lacks 'connection'" in result.stderr


@pytest.mark.slow
def test_devices_load_no_runtime() -> None:
    code = (
        "import sys\nfrom nasc.cli import main\n"
        "try: main(['devices'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_devices_for_people(nasc: Callable[..., Result]) -> None:
    result = nasc("devices")
    assert result.exit_code == 0
    assert "host" in result.stdout
    assert "not reachable: " in result.stdout
    assert "your own devices: " in result.stderr


@pytest.mark.slow
def test_shrinking_by_dominance_measures_no_table(
    nasc: Callable[..., Result],
    tmp_path: Path,
    teacher_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object, **others: object) -> None:
        raise AssertionError("a table was asked for")

    monkeypatch.setattr("nasc.pipelines.train.measure_tables", fail)
    text = [f"The {a} cat sat on the {b} mat and slept." for a in "abcdefgh" for b in "abcdefgh"]
    (tmp_path / "text.txt").write_text("\n\n".join(text), encoding="utf-8")
    space = toy_space_file(tmp_path, teacher_folder)
    start = ("train", "--teacher", teacher_folder(), "--space", space, "--corpus", "text.txt")
    shrink = ("--shrink", "--unit", "dominated", "--keep", "1", "--compact", "--output", "s.st")
    made = nasc(*start, "--first-run-operations", "--steps", "9", *shrink, "--json")
    assert made.exit_code == 0, made.stderr
    left = json.loads(made.stdout)["candidates"]
    assert all(2 < count < 13 for count in left)
    shown = nasc("report", "s.st", "--csv", "left.csv", "--json")
    assert shown.exit_code == 0, shown.stderr
    rows = [row for table in json.loads(shown.stdout)["left"] for row in table]
    assert len(rows) == sum(left)
    assert all(row["latency_ms"] is None for row in rows)
    assert (tmp_path / "left.csv").read_text().count("\n") == 1 + len(rows)


def toy_space_file(folder: Path, teacher_folder: Callable[..., Path]) -> Path:
    from nasc.teacher import load_teacher

    g = load_teacher(teacher_folder()).geometry
    path = folder / "toy.toml"
    path.write_text(
        f"n_blocks = 2\nslots = 2\nhidden_sizes = [16, {g.hidden}]\n[geometry]\n"
        f"layers = {g.layers}\nhidden = {g.hidden}\nhead_size = {g.head_size}\n"
        f"intermediate = {g.intermediate}\nvocab_size = {g.vocab_size}\n"
        f"max_positions = {g.max_positions}\n",
        encoding="utf-8",
    )
    return path


def test_the_choices_of_runtimes_precisions_and_formats_are_all_that_there_are() -> None:
    """They are written out, since the command line imports little."""
    assert options.PRECISIONS == PRECISIONS
    assert tuple(LOWERED) == options.RUNTIMES
    assert options.FORMATS == FORMATS
