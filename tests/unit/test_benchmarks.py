"""The scripts of benchmarks/: they load, are where documents say, and keep their results."""

import importlib.util
import io
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(BENCHMARKS.glob("*/*.py"))
TEXTS = [
    path
    for pattern in ("*.md", "docs/*.md", "benchmarks/**/*.py", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
]
LOAD_ALL = """
import runpy, sys
from pathlib import Path
for script in sys.argv[1:]:
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="loaded")
"""


def loaded(path: Path) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results() -> ModuleType:
    return loaded(BENCHMARKS / "quality" / "results.py")


@pytest.mark.slow
def test_all_load() -> None:
    command = [sys.executable, "-c", LOAD_ALL, *map(str, SCRIPTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_documents_name_scripts_that_are_there() -> None:
    named = {
        (path.name, name)
        for path in TEXTS
        for name in re.findall(r"benchmarks/[\w/.-]+\.\w+", path.read_text(encoding="utf-8"))
    }
    assert named
    assert not {(path, name) for path, name in named if not (ROOT / name).is_file()}


def test_the_readme_names_every_script() -> None:
    text = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert not [path.name for path in SCRIPTS if path.stem not in text]


def test_rows_are_kept_as_given_and_sorted_by_name(results: ModuleType, tmp_path: Path) -> None:
    table = results.Results(tmp_path / "results.jsonl")
    assert table.rows() == {}
    row: dict[str, Any] = {"scores": {"f1": 0.1 + 0.2, "accuracy": 1.0}, "text": "a\u2028| é"}
    table.add("b", {"seconds": 1})
    table.add("a", row)
    table.add("b", {"seconds": 2})
    again = results.Results(tmp_path / "results.jsonl").rows()
    assert list(again.items()) == [("a", row), ("b", {"seconds": 2})]
    assert list(again["a"]["scores"]) == ["f1", "accuracy"]  # the first is that of record
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


def test_rows_added_at_the_same_time_are_all_there(results: ModuleType, tmp_path: Path) -> None:
    path, names = tmp_path / "results.jsonl", [f"row-{n:02}" for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: results.Results(path).add(name, {}), names))
    assert list(results.Results(path).rows()) == names


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "a"}\n{"name": "b", "se', "line 2: no JSON object with a name"),
        ('{"name": "a"}\n<<<<<<< HEAD\n', "line 2: no JSON object"),
        ('{"seconds": 1}\n', "line 1: no JSON object"),
        ('{"name": "a"}\n{"name": "a"}\n', "line 2: a second 'a'. Leave one"),
    ],
)
def test_a_damaged_table_is_refused_by_line(
    results: ModuleType, tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match=message):
        results.Results(path).add("c", {})
    assert path.read_text(encoding="utf-8") == text


def give(
    results: ModuleType, monkeypatch: pytest.MonkeyPatch, path: Path, name: str, text: str
) -> None:
    monkeypatch.setattr("sys.argv", ["results.py", name, "--results", str(path)])
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    results.main()


def test_what_a_command_printed_becomes_a_row(
    results: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    give(results, monkeypatch, path, "distill-4", '{\n "steps": 4,\n "rows": []\n}')
    give(results, monkeypatch, path, "audit", '{"networks": []}')
    assert path.read_text() == (
        '{"name": "audit", "networks": []}\n{"name": "distill-4", "steps": 4, "rows": []}\n'
    )


@pytest.mark.parametrize("printed", ["", "[]", '{"name": 1}', '{"steps": 4'])
def test_what_is_no_row_is_refused(
    results: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, printed: str
) -> None:
    path = tmp_path / "results.jsonl"
    with pytest.raises(SystemExit, match=r"what was given is no JSON.*Nothing was written"):
        give(results, monkeypatch, path, "distill-4", printed)
    assert not path.exists()


def test_the_kept_table_is_written_as_it_would_be(results: ModuleType) -> None:
    lines = results.TABLE.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    names = [row["name"] for row in rows]
    assert names == sorted(set(names))
    assert [json.dumps(row) for row in rows] == lines
    assert all(next(iter(row)) == "name" for row in rows)
