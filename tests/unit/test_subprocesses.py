"""Programs that are started import nothing from the folder that the user stands in."""

import ast
from pathlib import Path

import pytest

import device_profiles
import nasc
import profilers
from profilers import peaks

SOURCES = [
    path
    for package in (device_profiles, nasc, profilers)
    for path in sorted(Path(package.__file__).parent.rglob("*.py"))
]


def _commands(tree: ast.AST) -> list[list[str]]:
    """The words of every list or tuple that begins with this Python."""
    return [
        [ast.unparse(word) for word in node.elts]
        for node in ast.walk(tree)
        if isinstance(node, ast.List | ast.Tuple)
        and node.elts
        and ast.unparse(node.elts[0]) == "sys.executable"
    ]


def test_every_python_that_is_started_leaves_out_the_folder_it_is_started_in() -> None:
    found = [words for path in SOURCES for words in _commands(ast.parse(path.read_text("utf-8")))]
    assert len(found) >= 7
    assert [words for words in found if words[1] != "'-P'"] == []


def test_a_folder_s_own_ziglang_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs nasc in the folder of a package runs nothing that lies there."""
    ran = tmp_path / "ran"
    (tmp_path / "ziglang").mkdir()
    (tmp_path / "ziglang" / "__main__.py").write_text(f"open({str(ran)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(peaks, "SOURCE", tmp_path / "no such file")
    assert peaks._by_program() is None
    assert not ran.exists()
