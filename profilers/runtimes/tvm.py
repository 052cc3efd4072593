"""TVM with its code for the CPU.

It opens what `nasc.lowering.tvm` writes: a shared library, with a JSON file beside it that tells
for which processor it was made, what it takes and gives, and which functions it has. It also opens
ONNX files whose inputs have fixed axes, which it compiles for this processor, without tuning.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.temporary import temporary_folder
from profilers.context import read_context
from profilers.errors import InvalidSetting, ModelRejected
from profilers.jobs import RuntimeOptions

_NEEDED = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.14.post0"}
"""With apache-tvm-ffi 0.1.15, which pip takes by itself, this TVM crashes when it reads or writes
tuning records; other releases of TVM have other interfaces."""


def _check_versions() -> None:
    """Refuse other releases before they are imported.

    Raises:
        ImportError: What is installed, and what is needed.
    """
    found = {}
    for name in _NEEDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    if found != _NEEDED:
        are = ", ".join(f"{name} {version}" for name, version in found.items())
        need = ", ".join(f"{name} {version}" for name, version in _NEEDED.items())
        raise ImportError(f"it is held to {need}; installed: {are}")


_check_versions()

# On which cores threads run is the worker's to say.
os.environ.setdefault("TVM_BIND_THREADS", "0")

import tvm  # noqa: E402
from tvm import relax, topi  # noqa: E402

from profilers.runtimes.described import (  # noqa: E402
    InputCache,
    check_tokens,
    checked,
    onnx_values,
    read_description,
    values_of,
)
from profilers.runtimes.tvm_description import (  # noqa: E402
    DESCRIPTION,
    LIBRARY,
    SCHEMA,
    why_not_here,
)
from profilers.runtimes.tvm_profiled import ProfiledSession  # noqa: E402
from profilers.runtimes.tvm_schedules import schedule  # noqa: E402
from profilers.runtimes.tvm_targets import HANDWRITTEN, kernel_kind, target_of  # noqa: E402

SETTINGS = ()
"""See `Runtime`."""

_OUT_OF_MEMORY = ("ailed to allocate", "bad_alloc", "bad allocation", "annot allocate memory")
"""How TVM, whose errors are of many kinds, says that memory is not given."""


def version() -> str:
    """Returns the version of the installed TVM."""
    return importlib.metadata.version("apache-tvm")


def precisions(flags: Collection[str]) -> tuple[str, ...]:
    """See `Runtime`: where `nasc.lowering.handwritten` has kernels for the processor."""
    return ("fp32", *(name for name in HANDWRITTEN if kernel_kind(flags, name)))


def _set_threads(threads: int) -> None:
    """Give TVM's pool its size.

    Raises:
        InvalidSetting: If it takes another.
    """
    tvm.get_global_func("runtime.config_threadpool")(1, threads)
    found = int(tvm.get_global_func("runtime.NumThreads")())
    if found != threads:
        raise InvalidSetting(
            f"threads = {threads}; TVM runs {found} here, as many as there are cores that this "
            f"process may use. Try: --threads {found}"
        )


class CompiledSession:
    """A library of `nasc.lowering.tvm`: the functions of its lengths."""

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        self._about = read_description(path, DESCRIPTION, SCHEMA, "library_sha256", why_not_here)
        self.machine = _opened(path, self._about)
        _set_threads(options.threads)
        self.kernels: Mapping[str, Mapping[str, Any]] = self._about["kernels"]
        self._fed = InputCache([value["name"] for value in self._about["inputs"]])
        self._calls: list[tuple[Any, list[Any]]] = []
        self._length = 0

    def describe_inputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `RuntimeSession`."""
        return values_of(self._about["inputs"])

    def describe_outputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `RuntimeSession`."""
        return values_of(self._about["outputs"])

    def metadata(self) -> dict[str, str]:
        """See `RuntimeSession`."""
        return dict(self._about["metadata"])

    def run(self, feeds: dict[str, Any]) -> None:
        """See `RuntimeSession`."""
        self._feed(feeds)
        for function, tensors in self._calls:
            function(*tensors)

    def outputs(self, feeds: dict[str, Any]) -> list[Any]:
        """See `RuntimeSession`. Texts shorter than the function's length are cut to their own."""
        self._fed.keep(None)  # the same array may hold other numbers by now
        self._feed(feeds)
        rows = [_numpy(function(*tensors)) for function, tensors in self._calls]
        found = []
        for index, value in enumerate(self._about["outputs"]):
            whole = np.concatenate([row[index] for row in rows])
            axis = self._about["token_axis"].get(value["name"])
            found.append(whole if axis is None else _cut(whole, axis, self._length))
        return found

    def _feed(self, feeds: Mapping[str, Any]) -> None:
        """Find the function for the inputs' length, and give it them, padded."""
        if not self._fed.is_new(feeds):
            return
        self._fed.keep(None)
        arrays = [checked(value, feeds[value["name"]]) for value in self._about["inputs"]]
        batch, length = check_tokens(self._about["inputs"], arrays, self._about["tokens"])
        function = self._function(batch, length)
        padding = ((0, 0), (0, function["seq_len"] - length))
        padded = [np.ascontiguousarray(np.pad(array, padding)) for array in arrays]
        compiled = self.machine[function["name"]]
        step = function["batch"]
        self._calls = [
            (compiled, [tvm.runtime.tensor(array[at : at + step]) for array in padded])
            for at in range(0, batch, step)
        ]
        self._length = length
        self._fed.keep(feeds)

    def _function(self, batch: int, length: int) -> dict[str, Any]:
        """The shortest that a text fits into.

        Raises:
            ModelRejected: If there is none.
        """
        functions = self._about["functions"]
        free = self._about["inputs"][0]["axes"][0] is None
        fit = [f for f in functions if f["seq_len"] >= length and (free or f["batch"] == batch)]
        if not fit or not batch or not length:
            most = max(function["seq_len"] for function in functions)
            texts = "1 text or more" if free else f"{functions[0]['batch']} texts"
            raise ModelRejected(
                f"it was made for {texts} of 1 to {most} tokens; given: {batch} of {length}. Cut "
                "them, or make it anew with --seq-len."
            )
        return dict(min(fit, key=lambda function: function["seq_len"]))


class OnnxSession:
    """An ONNX file, compiled as it is opened."""

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        import onnx

        try:
            model = onnx.load(path)
            onnx.checker.check_model(model)
        except Exception as error:  # of many kinds, by what is wrong with the file
            raise ModelRejected(f"it is no ONNX file that can be read: {error}") from error
        constants = {tensor.name for tensor in model.graph.initializer}
        self._inputs = onnx_values(v for v in model.graph.input if v.name not in constants)
        self._outputs = onnx_values(model.graph.output)
        self._metadata = {entry.key: entry.value for entry in model.metadata_props}
        for name, (_, axes) in self._inputs.items():
            if not all(isinstance(axis, int) for axis in axes):
                raise ModelRejected(
                    f"the axes {axes} of the input {name!r} are not all fixed; TVM compiles for "
                    "one shape. Fix them, or take another runtime: --runtime onnxruntime"
                )
        cpu = read_context()["cpu"]
        target = target_of(cpu["flags"], cpu["arch"], options.threads)
        self.machine = relax.VirtualMachine(_compiled(model, target), tvm.cpu())
        self._function = self.machine["main"]
        self.kernels: Mapping[str, Mapping[str, Any]] = {}
        _set_threads(options.threads)
        self._fed = InputCache(list(self._inputs))
        self._tensors: list[Any] = []

    def describe_inputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `RuntimeSession`."""
        return self._inputs

    def describe_outputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `RuntimeSession`."""
        return self._outputs

    def metadata(self) -> dict[str, str]:
        """See `RuntimeSession`."""
        return dict(self._metadata)

    def run(self, feeds: dict[str, Any]) -> None:
        """See `RuntimeSession`."""
        self._feed(feeds)
        self._function(*self._tensors)

    def outputs(self, feeds: dict[str, Any]) -> list[Any]:
        """See `RuntimeSession`."""
        self._fed.keep(None)  # the same array may hold other numbers by now
        self._feed(feeds)
        return _numpy(self._function(*self._tensors))

    def _feed(self, feeds: Mapping[str, Any]) -> None:
        if self._fed.is_new(feeds):
            self._fed.keep(None)
            arrays = []
            for name, (kind, axes) in self._inputs.items():
                value = {"name": name, "type": kind, "axes": axes}
                arrays.append(checked(value, feeds[name]))
            self._tensors = [tvm.runtime.tensor(np.ascontiguousarray(array)) for array in arrays]
            self._fed.keep(feeds)


def _opened(path: Path, about: Mapping[str, Any]) -> Any:
    """Load a copy of a library: of one name, the system gives the one that it has loaded before."""
    try:
        with temporary_folder() as folder:
            own = shutil.copyfile(path, folder / f"model{LIBRARY}")
            library = tvm.runtime.load_module(str(own))
        machine = relax.VirtualMachine(library, tvm.cpu())
        for function in about["functions"]:
            machine[function["name"]]
    except Exception as error:  # of many kinds
        raise ModelRejected(f"tvm cannot open the library: {error}") from error
    return machine


def _compiled(model: Any, target: Any) -> Any:
    from tvm.relax import transform
    from tvm.relax.frontend.onnx import from_onnx

    def fast_erf(builder: Any, call: Any) -> Any:
        return builder.call_te(topi.fast_erf, call.args[0])

    passes = [
        transform.DecomposeOpsForInference(),
        transform.CanonicalizeBindings(),
        transform.LegalizeOps({"relax.erf": fast_erf}),
        transform.AnnotateTIROpPattern(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
    ]
    try:
        with target:
            module = tvm.transform.Sequential(passes)(from_onnx(model, keep_params_in_input=False))
            return tvm.compile(schedule(module, target), target=target)
    except Exception as error:  # of many kinds, by operator
        raise ModelRejected(f"tvm cannot compile it: {error}") from error


def _cut(array: Any, axis: int, length: int) -> Any:
    return array[(slice(None),) * axis + (slice(0, length),)]


def _numpy(found: Any) -> list[Any]:
    """Outputs of a function as arrays."""
    tensors = [found] if hasattr(found, "numpy") else list(found)
    return [tensor.numpy() for tensor in tensors]


def open_session(path: Path, options: RuntimeOptions) -> CompiledSession | OnnxSession:
    """See `Runtime`."""
    kind = CompiledSession if path.suffix.lower() == LIBRARY else OnnxSession
    return kind(path, options)


def open_profiled(path: Path, options: RuntimeOptions) -> ProfiledSession:
    """See `CountingRuntime`."""
    session = open_session(path, options)
    return ProfiledSession(session, session.machine, session.kernels)


def is_out_of_memory(error: Exception) -> bool:
    """See `Runtime`."""
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)
