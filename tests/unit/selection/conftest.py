"""Lets the tests of this folder import the toys of the search and of the tables."""

import sys
from pathlib import Path

for folder in ("solver", "latency"):
    sys.path.append(str(Path(__file__).parents[1] / folder))
