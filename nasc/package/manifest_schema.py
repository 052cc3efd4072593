"""The form of a manifest as plain data, and what any value in it may be.

manifest.schema.json beside this module describes it.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import math
from collections.abc import Mapping
from typing import Any

import jsonschema

from device_profiles.reading import fits_pattern, shown
from nasc.errors import PackageError
from nasc.utils.printable import is_printable, printable
from nasc.version import __version__

FORMAT = "nasc.package"

SCHEMA_VERSION = 7
"""Raised with every change of the manifest's form."""

READ_VERSIONS = (2, 3, 4, 5, 6, 7)
"""Forms that are read. 3 allows for files in a folder of the package, 4 for precisions other than
fp32 and int8, 5 for heads of other poolings than the mean, scaled, other activations than the exact
GELU, and embeddings of their own size; 6 for tuning records, words in 4 bits, prompts, and a
vocabulary that was cut; 7 has what was measured in a file of its own
(`nasc.package.measurements`)."""

MAX_VALUES = 200_000
"""Numbers, texts and the like in a manifest: what can be checked one by one within seconds. One
with the samples of 36 rounds has 14,000 (2026); the p99 of a short network takes 100 rounds."""

_PER_ENTRY = ("items", "propertyNames", "additionalProperties")


def _unless_too_many(keyword: str) -> Any:
    """A keyword about each entry, which looks at none where there are more than may be.

    jsonschema looks at all entries also of a list or an object that is too large.
    """
    check = jsonschema.Draft202012Validator.VALIDATORS[keyword]

    def checked(validator: Any, value: Any, instance: Any, schema: Mapping[str, Any]) -> Any:
        most = schema.get("maxItems" if isinstance(instance, list) else "maxProperties")
        if most is None or not isinstance(instance, (list, dict)) or len(instance) <= most:
            yield from check(validator, value, instance, schema)

    return checked


_Bounded: Any = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    {"pattern": fits_pattern} | {name: _unless_too_many(name) for name in _PER_ENTRY},
)


@functools.cache
def validator() -> Any:
    """Of manifest.schema.json."""
    text = importlib.resources.files("nasc.package").joinpath("manifest.schema.json").read_text()
    return _Bounded(json.loads(text))


def check_schema(raw: object) -> None:
    """Raise unless plain data have the form of a manifest.

    Raises:
        PackageError: Naming the version, or the first field that does not fit.
    """
    version = raw.get("schema_version") if isinstance(raw, Mapping) else None
    if type(version) is int and version not in READ_VERSIONS:
        raise PackageError(
            f"the manifest has schema version {version}, this nasc ({__version__}) reads "
            f"{', '.join(map(str, READ_VERSIONS))}. Use the release that wrote it"
        )
    error = jsonschema.exceptions.best_match(validator().iter_errors(raw))
    if error is not None:
        raise PackageError(
            f"the manifest does not fit its schema: {error.json_path[:200]}: {error.message[:300]}"
        )


def check_values(raw: object) -> None:
    """Raise where plain data holds more than a manifest may, whatever its form.

    Raises:
        PackageError: On too many values, an endless number, or text that a terminal would obey.
    """
    refuse_infinite(raw, "")
    level, count = [raw], 0
    while level:
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                below += value.keys()
                below += value.values()
            elif isinstance(value, (list, tuple)):
                below += value
            elif isinstance(value, str) and not all(map(is_printable, value)):
                raise PackageError(
                    f"the manifest holds control characters: {shown(value)}. A package "
                    "of nasc compile has none: do not trust this one"
                )
        count += len(below)
        if count > MAX_VALUES:
            raise PackageError(f"the manifest holds more than {MAX_VALUES:,} values")
        level = below


def refuse_infinite(value: object, place: str) -> None:
    """Raise for an endless number, or none.

    Args:
        value: Plain data.
        place: Where in a manifest it is, as in ``.measured.parts[0]``; empty of all of it.

    Raises:
        PackageError: Naming the place.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise PackageError(
            f"manifest{place} is {value}: a package states finite figures only. A latency "
            "without a bound was measured too briefly: measure more rounds"
        )
    if isinstance(value, Mapping):
        for key, inner in value.items():
            refuse_infinite(inner, f"{place}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            refuse_infinite(inner, f"{place}[{index}]")


def printable_data(value: Any) -> Any:
    """Plain data whose texts, keys included, can be shown."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(str(key)): printable_data(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable_data(inner) for inner in value]
    return value
