"""READMEs of networks for queries alone: nothing in them compares their vectors with each other."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from nasc.package.formats import FORMATS, SHIPPED, runtime_of
from nasc.package.read_manifest import read_manifest
from nasc.package.readme import readme

THEMSELVES = re.compile(r"(\w+) @ \1\.T|similarity\((\w+), \2\)|similarity\(a, b\)")


@pytest.mark.parametrize("head", ["embed", "embed-max-unscaled"])
@pytest.mark.parametrize("runtime", dict.fromkeys((*SHIPPED, *map(runtime_of, FORMATS))))
def test_queries_are_compared_with_documents(
    packed: Mapping[tuple[str, str], Path], runtime: str, head: str
) -> None:
    manifest = read_manifest(packed["fp32", head])
    own = dataclasses.replace(manifest.conditions, runtime=runtime)
    manifest = dataclasses.replace(manifest, conditions=own)
    if runtime not in ("c", "aar"):
        assert THEMSELVES.search(readme(manifest))
    text = readme(dataclasses.replace(manifest, query_only=True))
    assert not THEMSELVES.search(text)
    assert "Who is playing music?" in text
    assert runtime == "c" or "document" in text.partition("## Use it")[2]
    for code in re.findall("```python\n(.*?)```", text, re.DOTALL):
        ast.parse(code)
