"""The form of a manifest: the schema itself, and what it takes to hold plain data against it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jsonschema

from device_profiles.noise import NOISE_NAMES, most_of
from nasc.architecture.space import PRECISIONS
from nasc.package.manifest_schema import validator
from nasc.package.read_manifest import read_plain_manifest


def test_the_schema_bounds_the_noise_that_there_is() -> None:
    schema = validator().schema
    measured = schema["properties"]["measured"]["oneOf"][1]["properties"]
    noise = measured["measurement"]["properties"]["noise"]
    assert tuple(noise["properties"]) == NOISE_NAMES
    for name, one in noise["properties"].items():
        bounds = schema["$defs"][one["$ref"].rpartition("/")[2]]
        assert (bounds["minimum"], bounds["maximum"]) == (0, most_of(name))


def test_the_schema_has_every_precision() -> None:
    properties = validator().schema["properties"]
    assert tuple(properties["precision"]["enum"]) == PRECISIONS
    _, whole, reduced = properties["parity"]["oneOf"]
    kinds = [one["properties"]["kind"] for one in (whole, reduced)]
    assert (kinds[0]["const"], *kinds[1]["enum"]) == PRECISIONS


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(validator().schema)


def test_of_a_list_that_is_too_long_no_entry_is_looked_at(
    packed: Mapping[tuple[str, str], Path],
) -> None:
    raw = read_plain_manifest(packed["fp32", "embed"])
    raw["quality"] = {f"no name {i}": {} for i in range(1000)}
    raw["architecture"]["blocks"] = [{}] * 2000
    raw["files"] |= {f"no/name/{i}": {} for i in range(1000)}
    found = [error.json_path for error in validator().iter_errors(raw)]
    assert sorted(found) == ["$.architecture.blocks", "$.files", "$.quality"]
