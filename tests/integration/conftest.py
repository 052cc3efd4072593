"""Set-up of the tests that measure on this machine."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def rough_tables() -> Iterator[None]:
    """Latency tables and probes take seconds, and are rough in return."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasc.latency.profile.MEASURE_S", 3.0)
        patch.setattr("nasc.latency.spot_check.SECONDS", 3.0)
        yield
