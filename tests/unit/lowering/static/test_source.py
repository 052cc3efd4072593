"""A compiled network's data as C, and what the library in C expects of it."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from nasc.errors import ExportError
from nasc.lowering.static.program import Kernel, Program, StaticNetwork, Step
from nasc.lowering.static.source import MAX_ARGUMENTS, network_source


def network(arguments: int) -> StaticNetwork:
    """A network of one kernel with so many arguments."""
    step = Step("product", tuple(range(0, 64 * arguments, 64)))
    program = Program(8, (step,), 64 * arguments, 0, 64, 128)
    kernel = Kernel("product", arguments, 1)
    return StaticNetwork(
        *("nasc", "x86_64", (), (kernel,), (program,), (1, 4), False, 10, bytes(32), b"", b"")
    )


def test_a_kernel_takes_no_more_than_the_library_passes_on() -> None:
    header = files("nasc.package").joinpath("c/nasc_network.h").read_text()
    [most] = re.findall(r"NASC_MAX_ARGUMENTS = (\d+)", header)
    assert int(most) == MAX_ARGUMENTS
    assert f"a[{MAX_ARGUMENTS - 1}], first, end);" in network_source(network(MAX_ARGUMENTS))
    with pytest.raises(ExportError, match=r"kernel product takes 33 arguments; .* 32 at most"):
        network_source(network(MAX_ARGUMENTS + 1))
