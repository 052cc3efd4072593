"""Set-up of the tests that measure on this machine."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def rough_tables() -> Iterator[None]:
    """Latency tables take seconds where the machine is busy, and are rough in return."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasc.latency.profile.MEASURE_S", 8.0)
        yield
