"""Set-up of the tests that measure on this machine."""

import dataclasses
from collections.abc import Iterator

import pytest

from profilers import Protocol

FEW_ROUNDS = {"min_rounds": 4, "max_rounds": 6}


@pytest.fixture(autouse=True, scope="module")
def rough_measurements() -> Iterator[None]:
    """Measurements take seconds, and are rough in return."""
    fields = {f.name: f.default for f in dataclasses.fields(Protocol)} | FEW_ROUNDS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasc.latency.profile.MEASURE_S", 3.0)
        patch.setattr("nasc.latency.spot_check.SECONDS", 3.0)
        patch.setattr(Protocol.__init__, "__defaults__", tuple(fields.values()))
        assert Protocol().max_rounds == FEW_ROUNDS["max_rounds"]
        yield
