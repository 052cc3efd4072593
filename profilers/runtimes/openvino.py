"""OpenVINO with its CPU device.

A model is computed in the number format that its file asks for (`FILE_SETTINGS`), in float32 where
it asks for none. OpenVINO by itself (2026.4) does not heed what the file asks for, and takes
bfloat16 wherever the processor has it, for a file in float32 too.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.reading import shown
from profilers.errors import InvalidSetting, ModelRejected
from profilers.jobs import RuntimeOptions

# Importing openvino writes a number for the user into the home folder and sends it to its makers
# with every import, through this package. Where that is missing it does neither.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402

SETTINGS = ()
"""See `Runtime`."""

FILE_SETTINGS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "INFERENCE_PRECISION_HINT": ("f32, bf16, f16", {"f32", "bf16", "f16"}.__contains__),
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": (
        "a whole number from 0 to 18,446,744,073,709,551,615",
        lambda text: bool(re.fullmatch("[0-9]{1,20}", text)) and int(text) < 1 << 64,
    ),
}
"""What a file may ask for in its rt_info, under "runtime_options": what is allowed, in words and as
a check."""

_CONFIG = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": 1,
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,  # on which cores threads run is the worker's to say
    "ENABLE_HYPER_THREADING": True,  # as many threads as are asked for, whatever cores share
}

_NUMPY_NAMES = {
    **{f"f{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"i{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"u{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "boolean": "bool",
}

_BLOCK = 10
"""Runs that are counted together, see `ProfiledOpenVinoSession`: so few that whole microseconds
leave an error of one in their mean."""

_OUT_OF_MEMORY = ("ailed to allocate", "bad_alloc", "ould not allocate", "bad allocation")
"""How OpenVINO, whose errors are all of a kind, says that memory is not given."""

_NATIVE = {
    "bf16": ("BF16", {"avx512_bf16", "amx_bf16"}),
    "fp16": ("FP16", {"amx_fp16", "asimdhp"}),
}
"""By number format, OpenVINO's name for it and the processor's flags (as Linux calls them) of which
one must be there. OpenVINO names formats, too, that a processor only converts from when it loads
them (AVX2-VNNI), and computes in bf16 on any AVX-512, by emulation. Its matrix products make no use
of avx512_fp16 (2026.4 on Sapphire Rapids): there fp16 takes 1.5 times as long as fp32."""


def version() -> str:
    """Returns the version of the installed OpenVINO."""
    return str(ov.__version__).partition("-")[0]


def precisions(flags: Collection[str]) -> tuple[str, ...]:
    """See `Runtime`."""
    named = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    native = [
        precision
        for precision, (name, any_of) in _NATIVE.items()
        if name in named and any_of & set(flags)
    ]
    return ("fp32", *native, "int8")


@functools.cache
def _core() -> Any:
    return ov.Core()


class OpenVinoSession:
    """One compiled model and its only request."""

    def __init__(self, path: Path, options: RuntimeOptions, profile: bool = False) -> None:
        try:
            model = _core().read_model(str(path))
            for port in model.inputs:
                if port.partial_shape.rank.is_dynamic:
                    raise ModelRejected(
                        f"the input {_name(port)!r} has no number of axes; OpenVINO runs models "
                        "whose inputs have one."
                    )
            self._metadata = _metadata(model)
            config = _CONFIG | {"INFERENCE_NUM_THREADS": options.threads} | _asked_for(model)
            if profile:
                config |= {"PERF_COUNT": True}
            self._compiled = _core().compile_model(model, "CPU", config)
            self._request = self._compiled.create_infer_request()
        except RuntimeError as error:
            raise ModelRejected(_plain(error)) from error
        self._check_threads(options.threads)
        self._check_precision(str(config["INFERENCE_PRECISION_HINT"]))
        self._fed: dict[str, Any] = {_name(port): None for port in self._compiled.inputs}
        # The method beneath the wrapper in Python, which takes 2 us more (2026.4).
        beneath: Any = super(ov.InferRequest, self._request)
        self._infer = beneath.infer

    def _check_threads(self, threads: int) -> None:
        most = self._compiled.get_property("INFERENCE_NUM_THREADS")
        if most != threads:
            raise InvalidSetting(
                f"threads = {threads}; OpenVINO runs {most} here, as many as there are cores that "
                f"this process may use. Try: --threads {most}"
            )

    def _check_precision(self, wanted: str) -> None:
        """Raise where the processor lacks a format and a coarser one would take its place."""
        used = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if used not in (wanted, "f32"):
            raise ModelRejected(
                f"it asks to be computed in {wanted}, which this processor does not offer: "
                f"OpenVINO would take {used}. Run it where that is offered, or make it anew for "
                "this processor."
            )

    def describe_inputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `RuntimeSession`."""
        return _described(self._compiled.inputs)

    def describe_outputs(self) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `RuntimeSession`."""
        return _described(self._compiled.outputs)

    def metadata(self) -> dict[str, str]:
        """See `RuntimeSession`."""
        return dict(self._metadata)

    def run(self, feeds: dict[str, Any]) -> None:
        """See `RuntimeSession`."""
        if self._feed(feeds):
            self._checked_run()
        self._infer({}, True, True)  # by this thread, whose time is taken

    def outputs(self, feeds: dict[str, Any]) -> list[Any]:
        """See `RuntimeSession`."""
        self._feed(feeds)
        self._checked_run()
        for name, (kind, _) in self.describe_outputs().items():
            if kind not in _NUMPY_NAMES.values():
                raise ModelRejected(f"the output {name!r} is of type {kind}, which numpy lacks.")
        tensors = map(self._request.get_output_tensor, range(len(self._compiled.outputs)))
        return [tensor.data.copy() for tensor in tensors]

    def means(self) -> dict[str, float]:
        """Microseconds by kernel, the mean of all runs so far; where it was opened to profile."""
        return {
            told.node_name: told.real_time.total_seconds() * 1e6
            for told in self._request.get_profiling_info()
            if told.status == ov.ProfilingInfo.Status.EXECUTED
        }

    def graph(self) -> Any:
        """The graph that ran, as OpenVINO made it of the model."""
        return self._compiled.get_runtime_model()

    def _feed(self, feeds: dict[str, Any]) -> bool:
        """Gives the request its inputs, without a copy where numpy and OpenVINO allow it.

        Returns:
            Whether any is another array than before.
        """
        if feeds.keys() != self._fed.keys():
            raise ModelRejected(
                f"its inputs are {', '.join(self._fed)}; given: {', '.join(feeds) or 'none'}."
            )
        new = False
        for index, (name, fed) in enumerate(self._fed.items()):
            value = feeds[name]
            if value is not fed:
                new = True
                flags = value.flags
                array = value if flags.c_contiguous and flags.writeable else np.array(value)
                try:
                    self._request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
                except RuntimeError as error:
                    raise ModelRejected(_plain(error)) from error
                self._fed[name] = array
        return new

    def _checked_run(self) -> None:
        """Runs the model in a thread of OpenVINO's, and raises what goes wrong.

        Of one thread, OpenVINO's synchronous run loses every exception and leaves the outputs of
        the run before (2026.4.1): what has run once on the same inputs may be run so, nothing else.
        """
        try:
            self._request.start_async()
            self._request.wait()
        except RuntimeError as error:
            self._fed = dict.fromkeys(self._fed)
            raise ModelRejected(_plain(error)) from error


class ProfiledOpenVinoSession:
    """The same with OpenVINO's counters: whole microseconds, and the mean of all runs so far.

    The first run of a compiled model makes its kernels ready. So the model is compiled anew after
    every `_BLOCK` runs, and what a kernel took in each of them is their mean without the first.
    """

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        self._open = functools.partial(OpenVinoSession, path, options, profile=True)
        self._session = self._open()
        self._blocks: list[list[dict[str, float]]] = [[]]

    def run(self, feeds: dict[str, Any]) -> None:
        """See `ProfiledSession`."""
        if len(self._blocks[-1]) == _BLOCK:
            self._session = self._open()
            self._blocks.append([])
        self._session.run(feeds)
        self._blocks[-1].append(self._session.means())

    def kernels(self) -> list[dict[str, Any]]:
        """See `ProfiledSession`. The graph that ran knows the shapes of the last run."""
        means = [(_without_first(block), len(block)) for block in self._blocks]
        ran = {name for told, _ in means for name in told}
        return [
            {
                "name": node.get_friendly_name(),
                "operator": _operator(node),
                "inputs": [_value(port.get_source_output()) for port in node.inputs()],
                "outputs": [_value(port) for port in node.outputs()],
                "us": [
                    told.get(node.get_friendly_name(), 0.0)
                    for told, runs in means
                    for _ in range(runs)
                ],
            }
            for node in self._session.graph().get_ordered_ops()
            if node.get_friendly_name() in ran
        ]


def _without_first(block: list[dict[str, float]]) -> dict[str, float]:
    """Microseconds by kernel: of means over ever more runs, the mean of all but the first run.

    That one was two: inputs that are new are run once by `_checked_run` before.
    """
    first, last, more = block[0], block[-1], len(block) - 1
    if not more:
        return first
    return {
        name: max(0.0, ((more + 2) * mean - 2 * first.get(name, 0.0)) / more)
        for name, mean in last.items()
        if name in first
    }


def _operator(node: Any) -> str:
    """What a node of the graph that ran does; of several operators in one, whether attention."""
    kind = _told(node, "layerType")
    whole = kind == "Subgraph" and _told(node, "originalLayersNames").count("MatMul") > 1
    return "AttentionSubgraph" if whole else kind


def _told(node: Any, key: str) -> str:
    """What the graph that ran says of a node."""
    value = node.get_rt_info()[key]
    return str(value.astype(str) if hasattr(value, "astype") else value)


def _value(port: Any) -> list[Any]:
    """Type and shape of an output of the graph that ran."""
    types = _told(port.get_node(), "outputPrecisions").split(",")
    kind = types[min(port.get_index(), len(types) - 1)]
    name = "bfloat16" if kind == "bf16" else _NUMPY_NAMES.get(kind, kind)
    return [name, [axis.get_length() if axis.is_static else 1 for axis in port.partial_shape]]


def _name(port: Any) -> str:
    """The name of an input or output: its node's, or one of its tensor's that has others alone."""
    own = re.sub(r"/sink_port_\d+$", "", port.get_node().get_friendly_name())
    names = port.get_names()
    return own if own in names else str(min(names, default=own))


def _described(ports: list[Any]) -> dict[str, tuple[str, list[int | str | None]]]:
    """Numpy type name and axes of inputs or outputs, by name; OpenVINO's axes have no names."""
    found = {}
    for port in ports:
        kind = port.get_element_type().get_type_name()
        shape = port.partial_shape
        sizes = [] if shape.rank.is_dynamic else list(shape)
        axes: list[int | str | None] = [s.get_length() if s.is_static else None for s in sizes]
        found[_name(port)] = (_NUMPY_NAMES.get(kind, kind), axes)
    return found


def _asked_for(model: Any) -> dict[str, str]:
    """What of `FILE_SETTINGS` a model's file asks for."""
    asked = _rt_info(model, "runtime_options")
    found = {}
    for key, (allowed, is_allowed) in FILE_SETTINGS.items():
        if key in asked:
            value = asked[key]
            if not isinstance(value, str) or not is_allowed(value):
                raise ModelRejected(
                    f"its rt_info has runtime_options/{key} = {shown(value)}; allowed: {allowed}."
                )
            found[key] = value
    return found


def _metadata(model: Any) -> dict[str, str]:
    """The texts under "nasc" in an IR's rt_info, or those of an ONNX file."""
    found = _rt_info(model, "nasc") or _rt_info(model, "framework")
    return {key: value for key, value in found.items() if isinstance(value, str)}


def _rt_info(model: Any, key: str) -> dict[str, Any]:
    """A part of a model's rt_info; empty where there is none."""
    if not model.has_rt_info([key]):
        return {}
    value = model.get_rt_info([key])
    value = getattr(value, "value", value)
    return value if isinstance(value, dict) else {}


def _plain(error: Exception) -> str:
    """What an exception of OpenVINO says, without the lines of its sources that it came by."""
    lines = (line.strip() for line in str(error).splitlines())
    said = [
        re.sub(r"Check '.*' failed at \S+:$", "", re.sub("^Caught exception: ", "", line)).strip()
        for line in lines
        if not re.match(r"(Caught exception: )?Exception from \S+:\d+:$", line)
    ]
    return " ".join(filter(None, said)) or str(error).strip()


def open_session(path: Path, options: RuntimeOptions) -> OpenVinoSession:
    """See `Runtime`."""
    return OpenVinoSession(path, options)


def open_profiled(path: Path, options: RuntimeOptions) -> ProfiledOpenVinoSession:
    """See `CountingRuntime`."""
    return ProfiledOpenVinoSession(path, options)


def is_out_of_memory(error: Exception) -> bool:
    """See `Runtime`."""
    return any(sign in str(error) for sign in _OUT_OF_MEMORY)
