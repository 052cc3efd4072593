"""Which space a teacher has, where none is named."""

from types import SimpleNamespace
from typing import Any

import pytest

from nasc.architecture.space import BERT_BASE, MINILM_L12, PRESETS, Geometry, derived_space
from nasc.errors import UsageError
from nasc.supernet.space_for import space_for

OTHER = Geometry(
    layers=4, hidden=256, head_size=64, intermediate=1024, vocab_size=1000, max_positions=64
)


def teacher_of(geometry: Geometry) -> Any:
    return SimpleNamespace(name="some", geometry=SimpleNamespace(for_space=lambda: geometry))


def test_a_preset_where_there_is_one() -> None:
    assert space_for(teacher_of(MINILM_L12), None) is PRESETS["minilm-l12"]


def test_the_full_size_of_bert_base_is_in_its_space() -> None:
    """The paper's space, which holds no full size, is there by its name alone."""
    found = space_for(teacher_of(BERT_BASE), None)
    assert found.name == "bert-base"
    assert found.keep
    assert space_for(teacher_of(BERT_BASE), "nas-bert") is PRESETS["nas-bert"]


def test_a_derived_space_where_there_is_no_preset() -> None:
    assert space_for(teacher_of(OTHER), None) == derived_space(OTHER)


def test_the_space_of_another_geometry_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'minilm-l6' is for a teacher of 6 layers.*nasc spaces"):
        space_for(teacher_of(OTHER), "minilm-l6")
