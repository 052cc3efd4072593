"""Set-up of unit tests."""

import pytest


@pytest.fixture(autouse=True)
def no_adb(monkeypatch: pytest.MonkeyPatch) -> None:
    """adb is not installed: it would list what is attached here, and leave its server running."""
    monkeypatch.setattr("profilers.devices.phones.PROGRAM", "/nonexistent/adb")
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
