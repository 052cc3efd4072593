"""TVM's kernels as they run: the virtual machine calls back before and after each.

The function that is called back is Python's, some microseconds for each kernel; it lies outside of
what is taken for the kernel's time, but for what TVM itself needs to call it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from profilers.runtimes.base import RuntimeSession

_PASSIVE = {"reshape", "expand_dims", "squeeze", "broadcast_to", "layout", "prepacked", "tir"}
"""Parts of a kernel's name that say nothing of what it computes, where there are others."""

_NAMES = {"take": "gather", "layer_norm": "layer_normalization", "sum": "reduce_sum"}
"""TVM's names of operators that others call otherwise."""

_PARTS = re.compile(
    "expand_dims|broadcast_to|layer_norm|conv[12]d|[a-z]+",
)

_OWN = ("vm.builtin.", "runtime.")
"""How names of what the virtual machine does itself begin: it allocates, and views in a shape."""


def operator_name(kernel: str) -> str:
    """What a kernel does, by the operators that TVM's name of it is made of.

    Args:
        kernel: As TVM numbers and joins them, such as "fused_matmul3_add5_gelu1_prepacked".

    Returns:
        Such as "matmul+add+gelu".
    """
    parts = [part for part in _PARTS.findall(kernel.removeprefix("fused_")) if part]
    active = [_NAMES.get(part, part) for part in parts if part not in _PASSIVE]
    return "+".join(active or parts)


class ProfiledSession:
    """A session whose virtual machine tells what each kernel takes.

    Args:
        session: That runs the model.
        machine: Its `tvm.relax.VirtualMachine`.
        stated: What is known of kernels by their names, see
            `profilers.runtimes.tvm_description.SCHEMA`.
    """

    def __init__(
        self, session: RuntimeSession, machine: Any, stated: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self._session = session
        self._stated = stated
        self._found: list[dict[str, Any]] = []
        self._at = 0
        self._before_ns = 0
        machine.set_instrument(self._called)

    def run(self, feeds: dict[str, Any]) -> None:
        """See `profilers.runtimes.base.ProfiledSession`."""
        self._at = 0
        self._session.run(feeds)

    def _called(self, _: Any, name: str, before: bool, __: Any, *arguments: Any) -> None:
        """See `tvm.relax.VirtualMachine.set_instrument`."""
        now = time.perf_counter_ns()
        if name.startswith(_OWN):
            return
        if before:
            self._before_ns = time.perf_counter_ns()
            return
        if self._at == len(self._found):
            values = [_value(x) for x in arguments if hasattr(x, "dtype")]
            about = self._stated.get(name, {})
            written = about.get("outputs", 1)
            known = {key: about[key] for key in ("operations", "computed_in") if key in about}
            self._found.append(
                {
                    "name": f"{name} ({self._at})",
                    "operator": about.get("operator", operator_name(name)),
                    "inputs": values[:-written],
                    "outputs": values[-written:],
                    "us": [],
                }
                | known
            )
        self._found[self._at]["us"].append((now - self._before_ns) * 1e-3)
        self._at += 1

    def kernels(self) -> list[dict[str, Any]]:
        """See `profilers.runtimes.base.ProfiledSession`."""
        return self._found


def _value(tensor: Any) -> list[Any]:
    return [str(tensor.dtype), [int(axis) for axis in tensor.shape]]
