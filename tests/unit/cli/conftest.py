"""Lets the tests of this folder import the made-up tables beside those of `nasc.latency`."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "latency"))
