"""The encoder of this folder, from Python: texts in, vectors out, with numpy and tokenizers alone.

    from encoder import Encoder
    vectors = Encoder(".").encode(["A man is playing a guitar."])

It calls libtvm_ffi.so and libtvm_runtime.so, which lie beside it, by ctypes; a TVM that is
installed is neither needed nor used, and cannot be imported in the same process. `model.so` is code
that runs in this process: open what you trust.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_INT, _BOOL, _TEXT, _TENSOR, _ARRAY, _OBJECTS = 1, 2, 8, 70, 71, 64
"""What `_Any` holds, by its first number (tvm/ffi/c_api.h, TVMFFITypeIndex)."""

_CPU, _POOLED, _ALIGNMENT = 1, 2, 64


class _Value(ctypes.Union):
    _fields_ = [("integer", ctypes.c_int64), ("text", ctypes.c_char_p), ("handle", ctypes.c_void_p)]


class _Any(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("padding", ctypes.c_uint32), ("value", _Value)]


class _Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_size_t)]


class _Error(ctypes.Structure):
    _fields_ = [("kind", _Bytes), ("message", _Bytes)]


class _Sequence(ctypes.Structure):
    _fields_ = [("data", ctypes.POINTER(_Any)), ("size", ctypes.c_int64)]


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _DLTensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


_HEADER_BYTES = 24
"""Of every object, before what is its own (tvm/ffi/c_api.h, TVMFFIObject)."""


class Encoder:
    """The network and the tokenizer of a folder.

    One thread at a time may run it.

    Attributes:
        lengths: Tokens that there is code for; a text is padded to the next.
        outputs: Names of what `run` gives, in order.
    """

    def __init__(self, folder: str | Path = ".", threads: int = 1) -> None:
        """Opens a folder like this one.

        Args:
            folder: With model.so, model.json, libtvm_ffi.so and libtvm_runtime.so.
            threads: Of TVM; the whole process shares them.

        Raises:
            OSError: If a file cannot be opened, for this processor for example.
            RuntimeError: If TVM refuses, or another TVM is loaded.
        """
        if "tvm_ffi" in sys.modules or "tvm" in sys.modules:
            raise RuntimeError("another TVM is imported in this process: open it in another")
        self._folder = Path(folder).absolute()
        about = json.loads((self._folder / "model.json").read_text(encoding="utf-8"))
        self._functions = about["functions"]
        self._fixed = about["inputs"][0]["axes"][0] is not None
        self._tokens: int = about["tokens"]
        self._token_axis: dict[str, int] = about["token_axis"]
        self.outputs = tuple(value["name"] for value in about["outputs"])
        self.lengths = tuple(function["seq_len"] for function in self._functions)
        self._tokenizer: Any = None
        os.environ.setdefault("TVM_BIND_THREADS", "0")
        self._api = ctypes.CDLL(str(self._folder / "libtvm_ffi.so"), mode=ctypes.RTLD_GLOBAL)
        self._runtime = ctypes.CDLL(str(self._folder / "libtvm_runtime.so"))
        library = self._global("ffi.ModuleLoadFromFile", str(self._folder / "model.so"))
        self._machine = self._method(library, "vm_load_executable")
        self._method(self._machine, "vm_initialization", _CPU, 0, _POOLED)
        self._global("runtime.config_threadpool", 1, threads)
        found = self._global("runtime.NumThreads")
        if found != threads:
            raise RuntimeError(f"{threads} threads were asked for, TVM runs {found} here")

    def encode(self, texts: Sequence[Any]) -> np.ndarray:
        """The first output of texts, or pairs of texts, by tokenizer.json.

        Args:
            texts: At least one; tokenizer.json says to how many tokens each is cut.

        Raises:
            RuntimeError: If TVM fails.
            ValueError: See `run`.
        """
        if self._tokenizer is None:
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
            self._tokenizer.enable_padding(length=self.lengths[0] if self._fixed else None)
        batch = self._tokenizer.encode_batch(list(texts))
        ids = np.array([text.ids for text in batch], np.int64)
        mask = np.array([text.attention_mask for text in batch], np.int64)
        return self.run(ids, mask)[0]

    def run(self, ids: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
        """What the network gives for a batch.

        Args:
            ids: (batch, seq_len), int64.
            mask: (batch, seq_len), int64; 1 of a token and 0 of the padding after them.

        Returns:
            Each output in float32, as `outputs` names them.

        Raises:
            ValueError: If it does not take such a batch.
            RuntimeError: If TVM fails.
        """
        if ids.ndim != 2 or ids.shape != mask.shape or not ids.dtype == mask.dtype == np.int64:
            raise ValueError("ids and mask are int64 of one shape, (batch, seq_len)")
        batch, length = ids.shape
        function = next((f for f in self._functions if f["seq_len"] >= length), None)
        if function is None or not batch or not length:
            raise ValueError(
                f"{batch} texts of {length} tokens: it takes texts of 1 to {self.lengths[-1]}"
            )
        step = function["batch"]
        whole = (step, function["seq_len"])
        if batch % step or (self._fixed and ids.shape != whole):
            raise ValueError(f"{batch} texts of {length} tokens: it takes {whole[0]} of {whole[1]}")
        if not 0 <= ids.min() <= ids.max() < self._tokens:
            raise ValueError(f"tokens are from 0 to {self._tokens - 1}")
        if ((mask != 0) & (mask != 1)).any():
            raise ValueError("the mask holds something else than 0 and 1")
        padding = ((0, 0), (0, function["seq_len"] - length))
        padded = [np.pad(array, padding) for array in (ids, mask)]
        parts = [
            self._run_once(function["name"], [array[at : at + step] for array in padded])
            for at in range(0, batch, step)
        ]
        found = [np.concatenate(rows) for rows in zip(*parts, strict=True)]
        axes = [self._token_axis.get(name) for name in self.outputs]
        return [
            rows if axis is None else rows[(slice(None),) * axis + (slice(length),)]
            for rows, axis in zip(found, axes, strict=True)
        ]

    def _run_once(self, name: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
        tensors, kept = zip(*(_tensor(array) for array in arrays), strict=True)
        inputs = []
        for managed in tensors:
            handle = ctypes.c_void_p()
            self._check(
                self._api.TVMFFITensorFromDLPack(
                    ctypes.byref(managed), _ALIGNMENT, 1, ctypes.byref(handle)
                )
            )
            inputs.append(_Object(handle.value or 0, _TENSOR, self._free))
        found = self._method(self._machine, name, *inputs)
        del inputs, kept
        return _arrays(found)

    # Calling TVM

    def _global(self, name: str, *arguments: Any) -> Any:
        """Calls one of TVM's own functions."""
        handle = ctypes.c_void_p()
        text = name.encode()
        self._check(
            self._api.TVMFFIFunctionGetGlobal(
                ctypes.byref(_Bytes(text, len(text))), ctypes.byref(handle)
            )
        )
        if not handle.value:
            raise RuntimeError(f"TVM has no function {name}")
        return self._call(_Object(handle.value, _OBJECTS, self._free), arguments)

    def _method(self, module: Any, name: str, *arguments: Any) -> Any:
        """Calls a function of a module."""
        function = self._global("ffi.ModuleGetFunction", module, name, False)
        if not isinstance(function, _Object):
            raise RuntimeError(f"model.so has no function {name}")
        return self._call(function, arguments)

    def _call(self, function: _Object, arguments: Sequence[Any]) -> Any:
        given = (_Any * max(1, len(arguments)))(*map(_any, arguments))
        result = _Any()
        self._check(
            self._api.TVMFFIFunctionCall(
                ctypes.c_void_p(function.handle), given, len(arguments), ctypes.byref(result)
            )
        )
        if result.kind >= _OBJECTS:
            return _Object(result.value.handle, result.kind, self._free)
        return result.value.integer if result.kind else None

    def _check(self, status: int) -> None:
        if status == 0:
            return
        raised = ctypes.c_void_p()
        self._api.TVMFFIErrorMoveFromRaised(ctypes.byref(raised))
        if not raised.value:
            raise RuntimeError("TVM fails, and does not say why")
        error = _Object(raised.value, _OBJECTS, self._free)
        message = _Error.from_address(error.handle + _HEADER_BYTES).message
        raise RuntimeError(ctypes.string_at(message.data, message.size).decode(errors="replace"))

    def _free(self, handle: int) -> None:
        self._api.TVMFFIObjectDecRef(ctypes.c_void_p(handle))


class _Object:
    """A reference to an object of TVM, given back with it."""

    def __init__(self, handle: int, kind: int, free: Callable[[int], None]) -> None:
        self.handle, self.kind, self._free = handle, kind, free

    def __del__(self) -> None:
        self._free(self.handle)


def _any(value: Any) -> _Any:
    """An argument; objects and texts must outlive it."""
    if isinstance(value, _Object):
        kind = ctypes.c_int32.from_address(value.handle + 8).value
        return _Any(kind, 0, _Value(handle=value.handle))
    if isinstance(value, str):
        return _Any(_TEXT, 0, _Value(text=value.encode()))
    return _Any(_BOOL if isinstance(value, bool) else _INT, 0, _Value(integer=value))


def _tensor(array: np.ndarray) -> tuple[_Managed, Any]:
    """An array as DLPack has it, and what must be kept as long."""
    raw = np.zeros(array.nbytes + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    aligned = raw[start : start + array.nbytes].view(np.int64).reshape(array.shape)
    aligned[:] = array
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    tensor = _DLTensor(aligned.ctypes.data, _CPU, 0, array.ndim, 0, 64, 1, shape, None, 0)
    return _Managed(tensor, None, None), (raw, shape)


def _arrays(found: _Object) -> list[np.ndarray]:
    """Copies of a tensor, or of all in an array of them."""
    handles = [found.handle]
    if found.kind == _ARRAY:
        cell = _Sequence.from_address(found.handle + _HEADER_BYTES)
        handles = [cell.data[i].value.handle for i in range(cell.size)]
    arrays = []
    for handle in handles:
        tensor = _DLTensor.from_address(handle + _HEADER_BYTES)
        shape = tensor.shape[: tensor.ndim]
        data = ctypes.cast(tensor.data + tensor.byte_offset, ctypes.POINTER(ctypes.c_float))
        arrays.append(np.ctypeslib.as_array(data, shape).copy())
    return arrays
