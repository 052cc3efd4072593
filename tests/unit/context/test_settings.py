"""What a search's conditions say."""

from __future__ import annotations

from pathlib import Path

import pytest

from nasc.context.settings import Settings


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        (Settings(), False),
        (Settings(corpus=("texts.txt",)), True),
        (Settings(pairs=Path("pairs.tsv")), True),
    ],
)
def test_a_text_of_one_s_own_is_one_that_is_named(settings: Settings, own: bool) -> None:
    assert settings.has_own_text is own
