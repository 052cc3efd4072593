"""The command line: parse, call, print, exit code.

Whatever is heavy is imported inside the commands, or by `nasc.api` when they call it, so that
`nasc --help` loads no torch.
"""

from nasc.cli import (
    measure,
    models,
    packages,
    regret,
    searching,
    spaces,
    supernet,
    tables,
    tuning,
)
from nasc.cli.group import main

__all__ = [
    "main",
    "measure",
    "models",
    "packages",
    "regret",
    "searching",
    "spaces",
    "supernet",
    "tables",
    "tuning",
]
