"""A worker at the other end of two pipes, spoken to line by line, and models for it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[4]


UNLIMITED_BYTES = 900_000_000_000_000
"""For programs with the address sanitizer, which maps more memory than any machine has."""


class RawWorker:
    """Requests as they are written, answers as they come."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        )

    def send(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            self.process.wait(60)
            said = self.process.stderr.read().decode(errors="replace")
            raise EOFError(f"ended with {self.process.returncode}: {said}")
        return json.loads(line)

    def ask(self, request: Any) -> Any:
        self.send(json.dumps(request).encode())
        return self.read()

    def start(self, **options: Any) -> Any:
        return self.ask({"op": "start", "options": options})

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


DTYPES = {
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "bool": TensorProto.BOOL,
}

Axes = Sequence[int | str | None]


def value(name: str, dtype: str, axes: Axes) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, DTYPES[dtype], axes)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
    return path


def write_every_type(path: Path) -> Path:
    """A model with an input and an output of every type, one axis a symbol and one a number."""
    axes = ["batch", 3]
    nodes = [
        helper.make_node("Not" if name == "bool" else "Identity", [name], [f"{name}_out"])
        for name in DTYPES
    ]
    return save(
        path,
        nodes,
        [value(name, name, axes) for name in DTYPES],
        [value(f"{name}_out", name, axes) for name in DTYPES],
        {"nasc": 'a "quoted" word', "ünïcode": "\u4e2d\U0001f600\n\x7f"},
    )


def write_sum(path: Path) -> Path:
    """A model of two inputs that must be of one size, though the file does not say so."""
    return save(
        path,
        [helper.make_node("Add", ["left", "right"], ["sum"])],
        [value("left", "float32", ["n"]), value("right", "float32", [None])],
        [value("sum", "float32", ["m"])],
    )


def write_words(path: Path) -> Path:
    """A model whose output is text."""
    return save(
        path,
        [helper.make_node("Cast", ["left"], ["words"], to=TensorProto.STRING)],
        [value("left", "float32", ["n"])],
        [helper.make_tensor_value_info("words", TensorProto.STRING, ["n"])],
    )
