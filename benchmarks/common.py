"""What several benchmarks share."""

from __future__ import annotations

import sys

from nasc.utils.progress import Progress


class Lines:
    """A reporter that prints stages and messages as lines on stderr."""

    def say(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr)

    def stage(self, title: str) -> Progress:
        print(f"  {title}", file=sys.stderr)
        return lambda done, total, message: None
