"""Jobs, options, the reference network and the worker's inputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import device_profiles
import profilers
from profilers import (
    DeviceUnreachable,
    InputSpec,
    InvalidSetting,
    ModelJob,
    ModelRejected,
    RuntimeOptions,
    reference_hash,
    reference_job,
)
from profilers.benching import BenchJob, Sizes, _axis, _peak_memory, _run, describe_jobs
from profilers.context import precisions_of
from profilers.inputs import draw_inputs
from profilers.messages import decode_array, encode_array
from profilers.runtimes import RuntimeEntry, get_runtime
from profilers.runtimes.described import onnx_values
from profilers.testing import SyntheticMachine, SyntheticWorker, synthetic_opener
from profilers.worker import WorkerProcess


def test_import_stays_light() -> None:
    code = (
        "import profilers, sys; heavy = {'numpy', 'onnx', 'onnxruntime', 'torch'};"
        "print(sorted(heavy & set(sys.modules)));"
        "profilers.measure; print('onnxruntime' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_everything_public_exists() -> None:
    for name in profilers.__all__:
        assert getattr(profilers, name) is not None
    assert set(profilers.__all__) == set(profilers._HOME_OF)
    with pytest.raises(AttributeError, match="no attribute 'mesure'"):
        profilers.mesure  # noqa: B018


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputSpec((1, 0)), r"shape \(1, 0\) has an axis below 1"),
        (lambda: InputSpec((1,), "complex64"), "type 'complex64' cannot be drawn"),
        (lambda: InputSpec((1,), low=3, high=3), r"range \[3, 3\) is empty"),
        (lambda: ModelJob("", Path("a.onnx"), {}), "empty name"),
        (lambda: RuntimeOptions(threads=0), "threads = 0; it must be 1 or more"),
        (lambda: RuntimeOptions(inter_op_threads=2), "only 1 is supported"),
        (lambda: RuntimeOptions(graph_optimization="most"), "allowed: all, extended"),
        (lambda: RuntimeOptions(cores=()), "at least one core"),
    ],
)
def test_settings_are_checked(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidSetting, match=message):
        make()


def test_settings_round_trip() -> None:
    spec = InputSpec((2, 3), "int32", 5, 9)
    assert InputSpec.from_dict(spec.to_dict()) == spec
    options = RuntimeOptions(threads=2, cores=(1, 0))
    assert options.cores == (0, 1)
    assert RuntimeOptions.from_dict(options.to_dict()) == options


def test_the_record_of_the_usual_settings_stays_as_it_is() -> None:
    """Tables that were measured before are found by it."""
    assert json.dumps(RuntimeOptions().to_dict(), sort_keys=True) == (
        '{"arena": true, "cores": null, "graph_optimization": "all", "inter_op_threads": 1, '
        '"runtime": "onnxruntime", "spinning": true, "threads": 1}'
    )


def test_a_worker_tells_the_number_formats_of_its_runtime() -> None:
    machine = SyntheticMachine({}, precisions=("fp32", "bf16", "int8"))
    assert precisions_of(machine.open().context) == ("fp32", "bf16", "int8")
    assert precisions_of(SyntheticMachine({}).open().context) == ("fp32", "int8")
    assert precisions_of({}) == ("fp32", "int8")  # of a worker that does not tell them
    assert precisions_of({"precisions": ["int8", "f8", "bf16"]}) == ("bf16", "int8")


def test_the_hash_covers_weights_beside_the_file_and_inputs_but_not_names(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"graph")
    spec = {"x": InputSpec((1, 4))}
    plain = ModelJob("a", path, spec).content_hash()
    assert ModelJob("b", path, spec).content_hash() == plain
    assert ModelJob("a", path, {"x": InputSpec((1, 5))}).content_hash() != plain
    (tmp_path / "other.onnx.data").write_bytes(b"not ours")
    assert ModelJob("a", path, spec).content_hash() == plain
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    assert ModelJob("a", path, spec).content_hash() != plain


def test_the_reference_never_changes(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    assert reference_hash() == "acad6d86277a90bb"
    job = reference_job(tmp_path)
    before = job.path.stat().st_mtime_ns
    assert reference_job(tmp_path) == job
    assert job.path.stat().st_mtime_ns == before
    model = onnx.load(job.path)
    onnx.checker.check_model(model, full_check=True)
    assert {"MatMul", "Softmax", "LayerNormalization", "Erf"} <= {
        node.op_type for node in model.graph.node
    }


def test_inputs_are_drawn_by_seed_within_their_range() -> None:
    specs = {
        "ids": InputSpec((4, 64), "int64", 5, 9),
        "mask": InputSpec((4, 64), "int32", 1, 2),
        "x": InputSpec((4, 64), "float16"),
        "flag": InputSpec((2,), "bool"),
    }
    drawn = draw_inputs(specs, seed=1)
    assert set(np.unique(drawn["ids"])) == {5, 6, 7, 8}
    assert drawn["mask"].dtype == np.int32
    assert (drawn["mask"] == 1).all()
    assert drawn["x"].dtype == np.float16
    assert drawn["flag"].all()
    again = draw_inputs(dict(reversed(specs.items())), seed=1)
    assert all((again[name] == drawn[name]).all() for name in specs)
    assert (draw_inputs(specs, seed=2)["ids"] != drawn["ids"]).any()


def test_the_worker_answers_bad_requests() -> None:
    worker = WorkerProcess()
    assert worker.answer("{")["kind"] == "request"
    assert "unknown op 'dance'" in worker.answer('{"op": "dance"}')["error"]
    assert "must be 'start'" in worker.answer('{"op": "describe", "path": "x"}')["error"]
    assert not worker.answer('{"op": "visit", "name": "x", "warmup": 0, "runs": 1}')["ok"]
    for line in (
        '{"op": "quit"',
        '["quit"]',
        "[" * 100_000,
        '{"op": "visit", "steps": [["x", 1e400, 1]]}',
        '{"op": "load", "name": "x", "path": "x", "inputs": []}',
    ):
        answer = worker.answer(line)
        assert (answer["ok"], answer["kind"], answer["name"]) == (False, "request", None)
    assert not worker.leaving
    assert worker.answer('{"op": "quit"}') == {"ok": True}
    assert worker.leaving


def test_arrays_keep_their_axes() -> None:
    for value in (np.float32(3), np.zeros((0, 2), "int8"), np.ones((2, 1), "bool")):
        again = decode_array(encode_array(value))
        assert (again.shape, again.dtype) == (np.shape(value), np.asarray(value).dtype)


def test_unknown_runtimes_are_refused() -> None:
    with pytest.raises(profilers.RuntimeMissing, match="unknown runtime 'tflite'; available: onnx"):
        get_runtime("tflite")


def test_the_runtime_of_a_name_is_that_module_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made_up.py").write_text("def version():\n    return '7'\n")
    (tmp_path / "absent.py").write_text("import a_runtime_that_nobody_installed\n")
    monkeypatch.setattr("profilers.runtimes.__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "profilers.runtimes.onnxruntime", raising=False)
    known = {
        "made_up": RuntimeEntry(("made-up",)),
        "absent": RuntimeEntry(("absent-cpu", "absent-gpu")),
    }
    monkeypatch.setattr("profilers.runtimes.RUNTIMES", known)
    assert get_runtime("made_up").version() == "7"
    assert "profilers.runtimes.onnxruntime" not in sys.modules
    with pytest.raises(profilers.RuntimeMissing, match="unknown runtime 'b'; available: made_up, "):
        get_runtime("b")
    with pytest.raises(profilers.RuntimeMissing, match=r"'absent' cannot .*pip install absent-cpu"):
        get_runtime("absent")


def test_a_transport_that_is_not_there_says_so() -> None:
    from device_profiles import find

    pixel6 = find("pixel6")
    assert profilers.reachable(pixel6) == (False, "adb is not installed")
    assert profilers.reachable(find("host"))[0]
    message = r"'pixel6' cannot be reached: .* adb, which cannot be run here.*apt install adb"
    with pytest.raises(DeviceUnreachable, match=message):
        profilers.open_worker(pixel6, RuntimeOptions())


def test_a_gpu_that_is_not_there_is_not_measured_on_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    server = device_profiles.find("cuda")
    assert profilers.reachable(server) == (False, "nvidia-ml-py is not installed")
    for measure in (
        lambda: profilers.open_worker(server, RuntimeOptions()),
        lambda: profilers.load_or_record_baseline(tmp_path, server),
        lambda: profilers.bench([tmp_path / "m.onnx"], server),
    ):
        with pytest.raises(DeviceUnreachable, match="python -m pip install nvidia-ml-py"):
            measure()


def describing(monkeypatch: pytest.MonkeyPatch, **axes: list[int | str | None]) -> None:
    """Has the runtime describe every file as having these inputs of floats."""
    worker = SyntheticMachine({}).open()
    monkeypatch.setattr(
        worker, "describe", lambda path: {n: ("float32", a) for n, a in axes.items()}
    )
    monkeypatch.setattr("profilers.benching.open_worker", lambda *_: worker)


def described(path: Path, dims: dict[str, int], **shapes: tuple[int, ...]) -> BenchJob:
    from device_profiles import find

    [run] = describe_jobs([path], find("host"), Sizes(dims, shapes), RuntimeOptions())
    return run


def onnx_file(path: Path, shape: list[int] | None) -> Path:
    """A model with one input x: None is an input of unknown rank, [] a scalar."""
    from onnx import TensorProto, helper, save_model

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    save_model(helper.make_model(helper.make_graph(nodes, "g", [value], [out])), path)
    return path


def test_an_axis_of_less_than_nothing_is_free(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(onnx_file(tmp_path / "m.onnx", [-1, 2]))
    assert onnx_values(model.graph.input) == {"x": ("float32", [None, 2])}


def test_a_size_of_an_axis_that_no_model_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = SyntheticMachine({"m": 1.0})  # whose models have the axes batch and seq_len
    monkeypatch.setattr("profilers.benching.open_worker", synthetic_opener(machine))
    path = tmp_path / "m.onnx"
    path.write_bytes(b"model")
    run = described(path, {"seq_len": 8})
    assert run.job.inputs["input_ids"].shape == (1, 8)
    assert run.dims == {"batch": 1, "seq_len": 8}
    with pytest.raises(InvalidSetting, match=r"takes images = 3; named axes: b.*--dim images out"):
        described(path, {"images": 3})
    with pytest.raises(InvalidSetting, match=r"named 'x'; inputs: input_ids\. Leave --shape x"):
        described(path, {}, x=(1,))
    with pytest.raises(InvalidSetting, match=r"shape 1x0 of 'x'; every size must be 1 or more"):
        described(path, {}, x=(1, 0))


def test_a_model_of_fixed_axes_is_labelled_by_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"model")
    describing(monkeypatch, x=[2, 16])
    run = described(path, {})
    assert (run.shapes, run.dims) == ("2x16", {})
    assert described(path, {"batch": 2, "seq_len": 16}).dims == {}  # as asked for
    with pytest.raises(InvalidSetting, match=r"takes seq_len = 64; .*: 2x16\. Leave --seq-len"):
        described(path, {"seq_len": 64})
    describing(monkeypatch, x=["Batch_Size", 16], y=[2, "seq", 3])
    run = described(path, {"batch": 4})
    assert run.dims == {"Batch_Size": 4, "seq": 128}
    assert run.shapes == "x 4x16, y 2x128x3"
    run = described(path, {}, y=(2, 5, 3))
    assert run.dims == {"Batch_Size": 1, "seq": 5}
    for shape in ((2, 5), (1, 5, 3)):
        with pytest.raises(InvalidSetting, match=r"--shape y=.* does not fit .* 'y' is 2x\?x3"):
            described(path, {}, y=shape)
    describing(monkeypatch, x=[0, 16])
    with pytest.raises(InvalidSetting, match=r"axis 0 of the input 'x' of .* is 0"):
        described(path, {})


def test_an_input_of_unknown_rank_is_asked_for_and_a_scalar_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describing(monkeypatch, x=[])  # as onnxruntime describes both
    unknown, scalar = onnx_file(tmp_path / "u.onnx", None), onnx_file(tmp_path / "s.onnx", [])
    with pytest.raises(InvalidSetting, match=r"'x' of '.*u\.onnx' has no shape.*--shape x=1,128"):
        described(unknown, {})
    assert described(unknown, {}, x=(3, 4)).shapes == "3x4"
    assert described(scalar, {}).shapes == "scalar"
    with pytest.raises(InvalidSetting, match=r"--shape x=3 does not fit .* 'x' is a scalar"):
        described(scalar, {}, x=(3,))
    other = tmp_path / "other.ort"
    other.write_bytes(b"ORTM and so on")
    with pytest.raises(InvalidSetting, match="has no shape"):
        described(other, {})


def test_a_device_that_tells_no_memory_is_still_benched(tmp_path: Path) -> None:
    from device_profiles import find

    def silent(*_: object) -> SyntheticWorker:
        worker = SyntheticMachine({"m": 1.0}).open()
        worker.base_bytes = None
        return worker

    job = ModelJob("m", tmp_path / "m.onnx", {})
    with pytest.raises(
        profilers.MemoryUnavailable, match=r"'host' does not tell.*Leave the memory"
    ):
        profilers.measure_peak_memory(job, device=find("host"), opener=silent)
    assert _peak_memory(job, find("host"), RuntimeOptions(), silent) is None


def test_bench_finds_shapes_and_values() -> None:
    sizes = Sizes({"batch": 2, "seq_len": 16, "images": 3}, {})
    file = Path("m.onnx")
    axes: list[int | str | None] = ["batch_size", "sequence_length"]
    run = _run(
        "m",
        file,
        {
            "input_ids": ("int64", axes),
            "attention_mask": ("int64", axes),
            "token_type_ids": ("int32", [None, 7]),
        },
        sizes,
    )
    assert run.job.inputs == {
        "input_ids": InputSpec((2, 16), "int64", 0, 100),
        "attention_mask": InputSpec((2, 16), "int64", 1, 2),
        "token_type_ids": InputSpec((2, 7), "int32", 0, 1),
    }
    assert run.dims == {"batch_size": 2, "sequence_length": 16, "batch": 2}
    assert _axis(file, "x", 0, "images", sizes.all_dims) == ("images", 3)
    with pytest.raises(InvalidSetting, match=r"axis 2 of the input 'x'.*--dim height=16"):
        _axis(file, "x", 2, "height", sizes.all_dims)
    for unnamed in (None, "", -1):
        with pytest.raises(
            InvalidSetting, match=r"neither a size nor a name.*--shape x="
        ) as caught:
            _axis(file, "x", 2, unnamed, sizes.all_dims)
        assert "--dim" not in str(caught.value)
    with pytest.raises(InvalidSetting, match="type 'string', which cannot be drawn"):
        _run("m", file, {"x": ("string", [1])}, sizes)


@pytest.mark.timeout(20)
def test_what_lies_beside_a_model_is_no_pipe_or_device(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"graph")
    beside = tmp_path / "model.onnx.data"
    for make, kind in (
        (lambda: os.mkfifo(beside), r"a pipe \(FIFO\)"),
        (lambda: beside.symlink_to("/dev/zero"), "a device"),
    ):
        make()
        with pytest.raises(ModelRejected, match=rf"{beside}' is no file but {kind}\. .*weights"):
            ModelJob("a", path, {"x": InputSpec((1, 4))}).content_hash()
        beside.unlink()


def test_a_board_that_nobody_has_located_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device_profiles._SSH_CONFIG", tmp_path / "none")
    board = device_profiles.find("raspberrypi5")
    assert profilers.reachable(board)[0] is False
    message = r"not known where device 'raspberrypi5' is.*'Host raspberrypi5'.*ssh raspberrypi5\."
    with pytest.raises(DeviceUnreachable, match=message):
        profilers.open_worker(board, RuntimeOptions())


def save_with_weights(folder: Path, location: str, name: str = "model.onnx") -> Path:
    """A model whose weights lie in another file."""
    onnx = pytest.importorskip("onnx")
    path = folder / name
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    model = onnx.load(reference_job(folder).path)
    onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=1024)
    return path


@pytest.mark.parametrize("name", ["w.bin", "model.onnx.data", "deep/er/we ights", "x" * 200])
def test_weights_are_found_by_the_name_that_the_model_has_for_them(
    tmp_path: Path, name: str
) -> None:
    path = save_with_weights(tmp_path, name)
    job = ModelJob("m", path, {})
    assert job.files() == (path, tmp_path / name)
    before = job.content_hash()
    data = bytearray((tmp_path / name).read_bytes())
    data[0] ^= 1
    (tmp_path / name).write_bytes(data)
    assert job.content_hash() != before
    (tmp_path / name).unlink()
    assert job.files() == (path,)


@pytest.mark.parametrize(
    "name", [b"../w.bin", b"/etc/passwd", b"a\0b", b"", b"model.onnx", b"\xff"]
)
def test_no_file_elsewhere_is_taken_for_weights(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "w.bin").touch()
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "model.onnx"
    head = b"\x0a\x08location\x12"
    path.write_bytes(b"x" + head + bytes([len(name)]) + name + head + b"\xff\xff\xff" + head)
    assert ModelJob("m", path, {}).files() == (path,)
