"""A tiny teacher with text for it; lets the tests of this folder import `supernet_toy`."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from nasc.data.tokens import Tokens
from nasc.teacher import Teacher, load_teacher


@pytest.fixture(scope="session")
def teacher(teacher_folder: Callable[..., Path]) -> Teacher:
    return load_teacher(teacher_folder(layers=4))


@pytest.fixture(scope="session")
def tokens(teacher: Teacher) -> Tokens:
    from supernet_toy import sentences

    return teacher.tokenize(sentences(96))
