"""ModernBERT: as its library, in torch, in graphs, in the supernet; refused by what lacks it."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from teacher_folders import edit_json

from nasc.architecture.layers import params
from nasc.architecture.space import Architecture, Block, derived_space, space_from_dict
from nasc.architecture.space import space_to_dict as stored
from nasc.architecture.variant import Variant
from nasc.errors import TeacherDamaged, TeacherError, UnsupportedFamily
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.parity import check_parity, check_reduced
from nasc.latency.memory import file_bytes
from nasc.lowering import get_lowering, why_unsupported
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import SETTLED, random_network
from nasc.package.formats import format_of
from nasc.supernet.initialize import initialize, randomize
from nasc.supernet.supernet import Supernet
from nasc.supernet.teacher_pruning import PrunedLoss, pruned_network
from nasc.teacher import load_teacher
from nasc.teacher.library import check_against_library

Folders = Callable[..., Path]
SENTENCES = ["the cat sat on a mat and ran to the house", "a dog", "it was big " * 3]


@pytest.fixture
def folder(teacher_folder: Folders, tmp_path: Path) -> Path:
    """Four layers: global, two with a window of 4, global; inner size 1.5 times the hidden one."""
    made = teacher_folder("modernbert", layers=4, intermediate=48, positions=80)
    return Path(shutil.copytree(made, tmp_path / "modern"))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_graphs_give_the_vectors_of_the_library(folder: Path, tmp_path: Path, runtime: str) -> None:
    pytest.importorskip(runtime)
    teacher = load_teacher(folder)
    assert [window for _, window in teacher.geometry.rotary] == [0, 4, 4, 0]
    assert check_against_library(teacher, folder, teacher.vectors).max_abs < 1e-5
    whole = derived_space(teacher.geometry.for_space()).teacher
    network = teacher_network(teacher, whole)
    model = get_lowering(runtime).lower(network, tmp_path)
    assert format_of(runtime).inspect(model.path).params == network.params
    encoder = Encoder(model.path, teacher.tokenizer, runtime=runtime)
    assert check_against_library(teacher, folder, encoder.encode).max_abs < 1e-5
    tokens = teacher.tokenize(SENTENCES).rows()
    check_parity(network, encoder, tokens)
    reduced = network.with_precision("int8")
    model = get_lowering(runtime).lower(reduced, tmp_path, "reduced", offered=("fp32",))
    small = Encoder(model.path, runtime=runtime)
    assert check_reduced(reduced, small, tokens, batches=(2,)).mean_cosine > 0.98


@pytest.mark.parametrize("lost", ["window", "frequencies", "normed", "gate_weight", "norm_weight"])
def test_what_a_layer_has_of_its_own_shows(folder: Path, tmp_path: Path, lost: str) -> None:
    teacher = load_teacher(folder)
    network = teacher_network(teacher, derived_space(teacher.geometry.for_space()).teacher)
    other = {"window": 0.0, "frequencies": 0.01, "normed": 1.0}.get(lost, 0.5)
    changed = tuple(
        {name: np.full_like(v, other) if name == lost else v for name, v in own.items()}
        for own in network.tensors
    )
    path = (
        get_lowering("onnxruntime")
        .lower(dataclasses.replace(network, tensors=changed), tmp_path)
        .path
    )
    encoder = Encoder(path, teacher.tokenizer)
    with pytest.raises(UnsupportedFamily, match="its vectors differ"):
        check_against_library(teacher, folder, encoder.encode)


def test_candidates_start_from_the_teacher_and_are_cut_out_as_they_compute(
    folder: Path, tmp_path: Path
) -> None:
    teacher = load_teacher(folder)
    space = derived_space(teacher.geometry.for_space())
    assert space_from_dict(stored(space)) == space
    supernet, batch = Supernet(space, teacher), teacher.encode(SENTENCES)
    for random in (True, False):
        if random:
            randomize(supernet, 0)
        else:
            initialize(supernet, batch.input_ids, batch.attention_mask, 0)
        for name, value in supernet.blocks.named_parameters():
            if name.rpartition(".")[2] in SETTLED:
                assert not value.requires_grad
                if name.endswith("frequencies"):
                    assert bool(value.all())
    same = Architecture((Block(32, ("mha", "ffn", "mha", "ffn")),) * 2)
    narrow = Architecture((Block(24, ("mha", "ffn", "sep3")), space.kept_block))
    tokens = teacher.tokenize(SENTENCES).rows()
    for architecture in (same, narrow):
        network = supernet.extract(architecture)
        model = get_lowering("onnxruntime").lower(network, tmp_path)
        encoder = Encoder(model.path, teacher.tokenizer)
        check_parity(network, encoder, tokens)
        assert network.params == params(architecture, space.geometry, network.head)
        assert network.params == format_of("onnxruntime").inspect(model.path).params
        said = file_bytes(architecture, "onnxruntime", space.geometry, network.head)
        assert model.size_bytes <= said <= model.size_bytes + 10_000
        found = encoder.encode(SENTENCES)
        if architecture is same:
            np.testing.assert_allclose(found, teacher.vectors(SENTENCES), atol=1e-5)
        else:
            cosines = np.vecdot(found, teacher.vectors(SENTENCES))
            norms = np.linalg.norm(found, axis=1)
            norms *= np.linalg.norm(teacher.vectors(SENTENCES), axis=1)
            assert (cosines / norms).mean() > 0.5
    loss = PrunedLoss(teacher, space, [batch])
    kept = (True,) * 3 + (False,) + (True,) * 4
    assert loss((True,) * 8) < 1e-6 < loss(kept)
    pruned = pruned_network(teacher, space, kept, "fp32", teacher.head())
    assert [float(t["window"][0]) for t in pruned.tensors if "window" in t] == [0, 4, 4, 0]


def test_old_and_new_keys_of_config_json_mean_the_same(folder: Path) -> None:
    new = load_teacher(folder)
    config = json.loads((folder / "config.json").read_text())
    for key in ("layer_types", "rope_parameters"):
        del config[key]
    old = {"global_attn_every_n_layers": 3, "global_rope_theta": 160000.0, "local_rope_theta": 1e4}
    (folder / "config.json").write_text(json.dumps(config | old))
    assert load_teacher(folder).geometry == new.geometry
    edit_json(folder / "config.json", local_rope_theta=5e4, global_attn_every_n_layers=2)
    changed = load_teacher(folder)
    assert changed.geometry.rotary == ((16e4, 0), (5e4, 4), (16e4, 0), (5e4, 4))
    assert check_against_library(changed, folder, changed.vectors).max_abs < 1e-5


def test_a_network_with_its_pretraining_head_is_the_same_encoder(folder: Path) -> None:
    plain = load_teacher(folder)
    weights = {
        f"model.{name}": value for name, value in load_file(folder / "model.safetensors").items()
    }
    weights |= {"head.dense.weight": torch.ones(32, 32), "decoder.bias": torch.ones(5)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    edit_json(folder / "config.json", architectures=["ModernBertForMaskedLM"])
    np.testing.assert_array_equal(load_teacher(folder).vectors(["a"]), plain.vectors(["a"]))
    save_file(
        weights | {"classifier.weight": torch.ones(2, 32)},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    edit_json(folder / "config.json", architectures=["ModernBertForSequenceClassification"])
    with pytest.raises(UnsupportedFamily, match=r"architectures = .*supported is encoders alone"):
        load_teacher(folder)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"norm_bias": True}, UnsupportedFamily, "norm_bias = true; supported is false"),
        ({"attention_bias": True}, UnsupportedFamily, "attention_bias = true; supported is false"),
        ({"layer_types": ["full_attention"]}, TeacherError, "layer_types"),
        ({"sliding_window": 0}, TeacherDamaged, "sliding_window"),
        ({"sliding_window": -3}, TeacherDamaged, "sliding_window"),
        ({"sliding_window": True}, TeacherDamaged, "sliding_window"),
        ({"sliding_window": 1 << 30}, TeacherDamaged, "sliding_window"),
        ({"head_dim": 32}, UnsupportedFamily, "head_dim = 32; supported is 8 or null"),
        ({"per_layer_config": {"0": {}}}, UnsupportedFamily, "per_layer_config"),
        ({"global_attn_every_n_layers": 0}, TeacherDamaged, "global_attn_every_n_layers"),
        ({"local_attention": True}, TeacherDamaged, "local_attention"),
        ({"local_rope_theta": -1.0}, TeacherDamaged, "local_rope_theta"),
        ({"rope_parameters": []}, TeacherDamaged, "rope_parameters"),
        ({"layer_types": "full_attention"}, TeacherDamaged, "layer_types"),
        ({"local_attention": None}, TeacherDamaged, "local_attention"),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 0}}},
            TeacherDamaged,
            "rope_theta",
        ),
        (
            {
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                }
            },
            UnsupportedFamily,
            r"rope_parameters\.full_attention\.rope_type = 'linear'",
        ),
        ({"hidden_activation": "silu"}, UnsupportedFamily, "hidden_activation = 'silu'"),
        ({"intermediate_size": 46}, UnsupportedFamily, "no multiple of num_attention_heads"),
    ],
)
def test_other_configurations_are_refused(
    folder: Path, change: dict[str, object], kind: type[TeacherError], message: str
) -> None:
    edit_json(folder / "config.json", **change)
    with pytest.raises(kind, match=rf"teacher 'modern': .*{message}"):
        load_teacher(folder)


def test_tvm_refuses_it_before_anything_is_measured(folder: Path) -> None:
    space = derived_space(load_teacher(folder).geometry.for_space())
    for precision in ("fp32", "bf16", "int8"):
        assert "rotary" in (why_unsupported("tvm", precision, space, "embed") or "")
    for precision in ("fp32", "bf16"):
        assert "torch makes no networks" in (
            why_unsupported("torch", precision, space, "embed") or ""
        )
    assert why_unsupported("onnxruntime", "int8", space, "embed") is None


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_files_of_random_networks_are_never_larger_than_said(
    folder: Path, tmp_path: Path, precision: str
) -> None:
    geometry = load_teacher(folder).geometry.for_space()
    for runtime in ("onnxruntime", "openvino"):
        pytest.importorskip(runtime)
        blocks = (Block(32, ("mha", "ffn") * 4), Block(16, ("ffn", "mha", "sep5")))
        network = random_network(Architecture(blocks, precision), geometry, "embed-cls")
        size = get_lowering(runtime).lower(network, tmp_path).size_bytes
        said = file_bytes(network.architecture, runtime, network.geometry, network.head)
        assert size <= said, Variant(runtime, precision)
