"""What formats say of themselves, which `nasc compile --format` goes by."""

from __future__ import annotations

import pytest

from nasc.lowering import LIMITS
from nasc.package.formats import FORMATS, SHIPPED, CFormat, PackageFormat, format_of, runtime_of
from profilers.runtimes import NAMES

ALL = tuple(dict.fromkeys((*SHIPPED, *map(runtime_of, FORMATS))))
ASKED = {
    *PackageFormat.__annotations__,
    *(name for name, value in vars(PackageFormat).items() if name[0] != "_" and callable(value)),
}


@pytest.mark.parametrize("runtime", ALL)
def test_a_format_says_all_that_is_asked_of_it(runtime: str) -> None:
    form = format_of(runtime)
    assert {name for name in ASKED if not hasattr(form, name)} == set()
    assert set(form.PRECISIONS) <= set(form.TOLERANCE)
    assert set(form.PRECISIONS) <= set(LIMITS[form.LOWERED_FOR].precisions)
    assert form.OPENED_BY is None or form.OPENED_BY in NAMES
    assert form.NOT_PROMISED.startswith("not ")


@pytest.mark.parametrize("runtime", SHIPPED)
def test_a_package_for_a_runtime_is_made_in_all_that_its_lowering_makes(runtime: str) -> None:
    assert set(format_of(runtime).PRECISIONS) == set(LIMITS[runtime].precisions)


def test_formats_of_c_are_those_that_no_runtime_opens() -> None:
    c = [name for name in ALL if isinstance(format_of(name), CFormat)]
    assert c == [name for name in ALL if format_of(name).OPENED_BY is None] == ["c", "android-c"]


def test_what_is_asked_for_is_named_once() -> None:
    assert len({*map(runtime_of, FORMATS)}) == len(FORMATS)
