"""`nasc spaces`."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from nasc.architecture.space import PRESETS, derived_space, load_space
from nasc.teacher import load_teacher

Nasc = Callable[..., Result]


def test_presets_are_listed(nasc: Nasc) -> None:
    result = nasc("spaces")
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split()[0] == "space"
    assert [line.split()[0] for line in lines] == list(PRESETS)
    listed = json.loads(nasc("spaces", "--json").stdout)
    assert [one["name"] for one in listed] == list(PRESETS)
    assert listed[-1]["sub_architectures_a_block"] == 97_650


def test_a_space_is_printed_as_the_file_that_it_is_read_from(nasc: Nasc, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(nasc("spaces", "minilm-l12").stdout)
    assert load_space(str(path)) == PRESETS["minilm-l12"]
    assert nasc("spaces", path).stdout == path.read_text()


def test_the_space_of_a_teacher(
    nasc: Nasc, teacher_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, path = teacher_folder(), tmp_path / "mine.toml"
    path.write_text(nasc("spaces", "--teacher", folder).stdout)
    expected = derived_space(load_teacher(str(folder)).geometry.for_space())
    assert load_space(str(path)) == expected


def test_a_name_and_a_teacher_are_one_too_many(
    nasc: Nasc, teacher_folder: Callable[..., Path]
) -> None:
    result = nasc("spaces", "minilm-l6", "--teacher", teacher_folder())
    assert result.exit_code == 2
    assert "not both" in result.stderr
    assert nasc("spaces", "minilm").exit_code == 2
