"""From TVM's function of a network to steps: which kernel runs on which buffers.

What computes nothing (a view, a tuple, another name) becomes the buffer that it is of; what the
output does not depend on is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tvm
from tvm import relax

from nasc.errors import ExportError
from nasc.lowering.static.arena import Lifetime, place
from nasc.lowering.static.kernels import Lowered
from nasc.lowering.static.program import Program, Step
from nasc.lowering.static.weights import Weights

_VIEWS = ("relax.reshape", "relax.memory.view")
_NOTHING = "relax.null_value"


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory that a run writes; `number` tells it from others."""

    number: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Fixed:
    """A constant, by its key in `Weights`."""

    key: bytes


Value: TypeAlias = "Buffer | Fixed | tuple[Value, ...]"


@dataclass(frozen=True, slots=True)
class Call:
    """A kernel with its arguments, and which of them it writes."""

    kernel: str
    arguments: tuple[Buffer | Fixed, ...]
    written: frozenset[Buffer]

    @property
    def read(self) -> frozenset[Buffer]:
        """Buffers whose content it needs."""
        return frozenset(x for x in self.arguments if isinstance(x, Buffer)) - self.written


@dataclass(frozen=True, slots=True)
class Trace:
    """A function of ids and mask, as calls in their order."""

    ids: Buffer
    mask: Buffer
    calls: tuple[Call, ...]
    output: Buffer


class _Reader:
    def __init__(
        self, symbols: Mapping[str, str], kernels: Mapping[str, Lowered], weights: Weights
    ) -> None:
        self._symbols = symbols
        self._kernels = kernels
        self._weights = weights
        self._values: dict[Any, Value] = {}
        self._calls: list[Call] = []
        self._count = 0

    def read(self, function: Any) -> Trace:
        ids, mask = (self._new(variable.ty) for variable in function.params)
        self._values |= dict(zip(function.params, (ids, mask), strict=True))
        for block in function.body.blocks:
            for binding in block.bindings:
                self._values[binding.var] = self._bind(binding.var, binding.value)
        output = self._value(function.body.body)
        while isinstance(output, tuple):
            output = output[0]
        if not (isinstance(ids, Buffer) and isinstance(mask, Buffer)):
            raise ExportError("a network's two inputs must be tensors")
        if not isinstance(output, Buffer):
            raise ExportError("a network's output must depend on its inputs")
        return Trace(ids, mask, _needed(self._calls, output), output)

    def _bind(self, variable: Any, value: Any) -> Value:
        if not isinstance(value, relax.Call):
            return self._value(value)
        name = value.op.name if isinstance(value.op, tvm.ir.Op) else str(value.op)
        if name == _NOTHING:  # an argument that a view was not given
            return ()
        if name in _VIEWS:
            return self._value(value.args[0])
        if name != "relax.call_tir":
            raise ExportError(f"the operator {name!r} has no kernel; only kernels run without TVM")
        symbol = self._symbols[value.args[0].name_hint]
        inputs = [self._value(argument) for argument in value.args[1].fields]
        made = self._new(variable.ty)
        outputs = list(made) if isinstance(made, tuple) else [made]
        work = [self._buffer(size) for size in self._kernels[symbol].work_bytes]
        arguments = tuple(x for x in (*inputs, *outputs, *work) if not isinstance(x, tuple))
        if len(arguments) != len(inputs) + len(outputs) + len(work):
            raise ExportError(f"the kernel {symbol} takes a tuple; only kernels of tensors run")
        written = frozenset(x for x in (*outputs, *work) if isinstance(x, Buffer))
        self._calls.append(Call(symbol, arguments, written))
        return made

    def _value(self, expression: Any) -> Value:
        if isinstance(expression, relax.Tuple):
            return tuple(self._value(one) for one in expression.fields)
        if isinstance(expression, relax.TupleGetItem):
            whole = self._value(expression.tuple_value)
            assert isinstance(whole, tuple)
            return whole[int(expression.index)]
        if isinstance(expression, tvm.ir.Constant):
            array = np.ascontiguousarray(expression.value.numpy())
            return Fixed(self._weights.add(array.tobytes()))
        return self._values[expression]

    def _new(self, kind: Any) -> Value:
        """Buffers for a tensor, or a tuple of such."""
        if hasattr(kind, "fields"):
            return tuple(self._new(one) for one in kind.fields)
        count = int(np.prod([int(size) for size in kind.shape], dtype=np.int64))
        return self._buffer(count * np.dtype(str(kind.dtype)).itemsize)

    def _buffer(self, size_bytes: int) -> Buffer:
        self._count += 1
        return Buffer(self._count, size_bytes)


def _needed(calls: list[Call], output: Buffer) -> tuple[Call, ...]:
    """The calls that an output depends on."""
    wanted, kept = {output}, []
    for call in reversed(calls):
        if call.written & wanted:
            kept.append(call)
            wanted |= call.read
    return tuple(reversed(kept))


def trace(
    function: Any, symbols: Mapping[str, str], kernels: Mapping[str, Lowered], weights: Weights
) -> Trace:
    """The calls of a network's function.

    Args:
        function: Of ids and mask; of several outputs the first is taken.
        symbols: Of kernels, by their names in the module.
        kernels: By symbol.
        weights: Which takes up the constants.

    Raises:
        ExportError: If it does what only TVM's runtime can.
    """
    return _Reader(symbols, kernels, weights).read(function)


def program(length: int, found: Trace, places: Mapping[bytes, int]) -> Program:
    """A trace with a place for everything.

    Args:
        length: Tokens of the text that it is of.
        found: The trace.
        places: Of constants in the weights file.
    """
    buffers, lifetimes = _lifetimes(found)
    starts, arena_bytes = place(lifetimes)
    at = dict(zip(buffers, starts, strict=True))
    steps = [
        Step(
            call.kernel,
            tuple(at[x] if isinstance(x, Buffer) else ~places[x.key] for x in call.arguments),
        )
        for call in found.calls
    ]
    return Program(
        length, tuple(steps), arena_bytes, at[found.ids], at[found.mask], at[found.output]
    )


def _lifetimes(found: Trace) -> tuple[list[Buffer], list[Lifetime]]:
    """Buffers and when each is needed; inputs are there before the first step."""
    first = {found.ids: -1, found.mask: -1}
    last = {found.ids: -1, found.mask: -1}
    for index, call in enumerate(found.calls):
        for buffer in sorted(call.written, key=lambda b: b.number):
            first.setdefault(buffer, index)
            last[buffer] = index
        for buffer in call.read:
            last[buffer] = index
    last[found.output] = len(found.calls)
    buffers = sorted(first, key=lambda b: b.number)
    return buffers, [Lifetime(b.size_bytes, first[b], last[b]) for b in buffers]
