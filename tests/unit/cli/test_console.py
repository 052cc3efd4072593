"""What a person and a program see: stages in a terminal and in a log, results in any encoding."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from nasc.cli.console import ConsoleReporter, print_json, print_table

LOSS = "True loss of the best candidates"
MEASURING = "Measuring on device 'host'"

COMPILE: tuple[tuple[str, ...], ...] = (
    ("stage", "Text"),
    ("update", "0", "1", "reading"),
    ("say", "text: text.txt (300 sentences)"),
    ("stage", "Latency tables of device 'host'"),
    ("update", "1", "1", "device 'host' (onnxruntime, int8, 1 thread, length 16): in the cache"),
    ("stage", "Latency tables of device 'host'"),
    ("stage", "Supernet: scoring the candidates"),
    ("update", "3", "4", "block 3"),
    *12 * (("stage", LOSS), ("update", "1", "2", ""), ("update", "2", "2", "")),
    ("stage", "Pruning the teacher"),
    ("stage", "Successive halving of 2 networks"),
    ("update", "0", "2", "16: M F | 16: M F @ int8"),
    ("say", "  16: M F | 16: M F @ int8: pooled cosine 0.9862, similarity 0.6204"),
    ("update", "1", "2", "16: M | keep @ int8"),
    ("say", "  16: M | keep @ int8: pooled cosine 0.8801, similarity 0.3889"),
    ("say", "chosen: 16: M F | 16: M F @ int8"),
    ("stage", MEASURING),
    ("update", "7", "30", "round 7"),
    ("stage", "Distillation of the chosen network"),
    ("stage", "Parity of the export"),
    ("say", "int8 accepted: mean cosine of int8 to fp32 vectors 1.0000"),
    *12 * (("stage", LOSS), ("update", "2", "2", "")),
    ("stage", MEASURING),
    ("stage", "Parity of the export"),
    ("stage", "Quality on held-out text"),
    ("stage", "Package"),
    ("update", "0", "1", "nasc-host-5ms"),
)
"""What a compilation says, as it was recorded of one that missed a limit once."""

TITLES = list(dict.fromkeys(event[1] for event in COMPILE if event[0] == "stage"))
SAID = [event[1] for event in COMPILE if event[0] == "say"]


def replay(reporter: ConsoleReporter) -> None:
    progress = None
    for kind, *values in COMPILE:
        if kind == "say":
            reporter.say(values[0])
        elif kind == "stage":
            progress = reporter.stage(values[0])
        else:
            assert progress is not None
            progress(int(values[0]), int(values[1]), values[2])


def screen(output: str) -> list[str]:
    """The lines that a terminal shows, however often they were written over."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", output):
        if token == "\r":
            column = 0
        elif token == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif token.startswith("\x1b["):
            steps, command = token[2:-1], token[-1]
            if command == "A":
                row -= int(steps or 1)
                assert row >= 0
            elif command == "K":
                lines[row] = ""
            else:
                assert command in "mhl", token
        else:
            lines[row] = (
                lines[row][:column].ljust(column) + token + lines[row][column + len(token) :]
            )
            column += len(token)
    return [line.rstrip() for line in lines]


def terminal(width: int = 100, height: int = 40) -> tuple[ConsoleReporter, io.StringIO]:
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, force_interactive=True, width=width, height=height,
        highlight=False, _environ={"TERM": "xterm"},
    )  # fmt: skip
    return ConsoleReporter(console), file


def test_a_terminal_shows_every_stage_on_one_line() -> None:
    reporter, file = terminal()
    replay(reporter)
    reporter.finish()
    lines = screen(file.getvalue())
    for title in TITLES:
        [line] = [line for line in lines if line.startswith(title)]
        assert re.search(r"━{24}.*\d:\d\d$", line), line
        assert "╸" not in line
    shown = [line for line in lines if line in SAID]
    assert shown == SAID


def test_a_stage_that_was_stopped_is_not_full() -> None:
    reporter, file = terminal()
    reporter.stage("Text")
    reporter.stage(MEASURING)(7, 30, "round 7")
    reporter.close()
    text, measuring = (line for line in screen(file.getvalue()) if line)
    assert "━" * 24 in text
    assert "━╸" in measuring
    assert "round 7" in measuring


def test_a_stage_that_comes_again_begins_anew_and_adds_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("nasc.cli.console.time.monotonic", lambda: now[0])
    reporter, file = terminal()
    for _ in range(3):
        reporter.stage(LOSS)(2, 2, "")
        now[0] += 25.0
    reporter.stage(MEASURING)(7, 30, "round 7")
    now[0] += 3.0
    reporter.finish()
    loss, measuring = (line for line in screen(file.getvalue()) if line)
    assert (loss[-5:], measuring[-5:]) == (" 1:15", " 0:03")


@pytest.mark.parametrize("width", [40, 60, 80, 81])
def test_narrow_terminals_keep_a_stage_on_a_line(width: int) -> None:
    reporter, file = terminal(width)
    replay(reporter)
    reporter.finish()
    lines = [line for line in screen(file.getvalue()) if "━" in line]
    assert len(lines) == len(TITLES)
    assert all(len(line) <= width for line in lines)


def test_a_low_terminal_always_shows_the_stage_at_hand() -> None:
    reporter, file = terminal(height=8)
    seen = 0
    for number in range(20):
        reporter.stage(f"stage {number}")
        assert reporter._bars is not None
        reporter._bars.refresh()
        tail = screen(file.getvalue())[-1]
        assert tail.startswith(f"stage {number}"), tail
        seen = max(seen, len(reporter._lines))
    reporter.finish()
    lines = [line.split("  ")[0] for line in screen(file.getvalue()) if line]
    assert [re.match(r"stage \d+", line)[0] for line in lines] == [  # type: ignore[index]
        f"stage {number}" for number in range(20)
    ]
    assert seen < 8


def test_nothing_that_is_said_steers_the_terminal() -> None:
    reporter, file = terminal()
    reporter.say("a\x1b[2Jb\rc\x07d\u202ee\nnext [red]")
    reporter.stage("t\x1b[2J\nitle")(1, 2, "m\r\n\x1b[1Aessage")
    reporter.close()
    lines = screen(file.getvalue())
    assert lines[:2] == [r"a\x1b[2Jb\rc\x07d\u202ee", "next [red]"]
    assert lines[2].startswith(r"t\x1b[2J\nitle")
    assert r"m\r\n\x1b[1Aessage" in lines[2]


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"TERM": "unknown"}, None])
def test_a_log_says_a_stage_once_while_it_repeats(environ: dict[str, str] | None) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=environ is not None, _environ=environ)
    reporter = ConsoleReporter(console)
    replay(reporter)
    reporter.finish()
    said = file.getvalue()
    assert "\x1b" not in said
    assert said.count(f"{LOSS} ...\n") == 2  # the search before the limit was missed, and after
    assert [line for line in said.splitlines() if line in SAID] == SAID


def test_a_long_line_of_a_log_stays_one() -> None:
    file = io.StringIO()
    ConsoleReporter(Console(file=file)).say("word " * 60 + "end")
    assert file.getvalue().count("\n") == 1


# Results


def run(code: str, stdout: int | None = None, **environ: str) -> subprocess.CompletedProcess[bytes]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "PYTHONIO"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        env={**inherited, **environ},
    )


ENCODINGS = (
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "utf-8"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)
DEVICE = """
import sys
from nasc.cli import main
from nasc.pipelines import devices
devices.installed = lambda name: (False, None)  # to ask takes seconds
main(["devices", *sys.argv[1:]])
"""


@pytest.mark.slow
@pytest.mark.parametrize("environ", ENCODINGS, ids=str)
def test_results_are_written_in_any_encoding(environ: dict[str, str], tmp_path: Path) -> None:
    """A device whose description is not ASCII, in a folder whose name is no text."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/n\xff")) / "nasc" / "devices"
    folder.mkdir(parents=True)
    (folder / "board.toml").write_text(
        'name = "board"\ndescription = "Gerät 板"\ntransport = "local"\ndetect = true\n'
        '[defaults]\nthreads = 1\nruntime = "onnxruntime"\n',
        encoding="utf-8",
    )
    environ = {**environ, "XDG_CONFIG_HOME": str(folder.parent.parent)}
    done = run(DEVICE.replace("*sys.argv[1:]", "'--json'"), **environ)
    assert done.returncode == 0, done.stderr
    found = {row["name"]: row for row in json.loads(done.stdout.decode("utf-8"))}
    assert found["board"]["description"] == "Gerät 板"
    assert os.fsencode(found["board"]["path"]) == os.fsencode(folder / "board.toml")
    done = run(DEVICE, **environ)
    assert done.returncode == 0, done.stderr
    assert b"board" in done.stdout


def test_numbers_that_json_lacks_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [float("nan"), (float("inf"), 1.5)], "b": "\udcff é"})
    assert json.loads(capsys.readouterr().out) == {"a": [None, [None, 1.5]], "b": "\udcff é"}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("arguments", ["", "'--json'"])
def test_a_result_that_cannot_be_written_names_its_target(arguments: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(DEVICE.replace("*sys.argv[1:]", arguments), full.fileno())
    assert done.returncode == 1
    assert done.stderr.decode().count("\n") <= 2
    assert b"Error: cannot write the result to the standard output: No space" in done.stderr


def test_columns_stand_under_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("ms", "MB", "model"), [("1234.5", "1", "a"), ("2.0", "10", "long name")])
    assert capsys.readouterr().out.splitlines() == [
        "    ms  MB  model",
        "1234.5   1  a",
        "   2.0  10  long name",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ["", "'--json'"])
def test_a_result_without_a_standard_output_is_one_message(arguments: str) -> None:
    command = "[sys.executable, '-c', sys.argv[1]]"
    code = f"import os, sys; os.close(1); os.execv(sys.executable, {command})"
    done = subprocess.run(
        [sys.executable, "-c", code, DEVICE.replace("*sys.argv[1:]", arguments)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "cannot write the result to the standard output: it is closed. Send" in done.stderr
    assert "Traceback" not in done.stderr
