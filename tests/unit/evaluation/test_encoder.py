"""Running a shipped file: order, padding, lengths, messages."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.data.batching import by_length, pad, token_ids
from nasc.errors import ExportError, UsageError
from nasc.evaluation.encoder import Encoder
from nasc.export.onnx import build, emit
from nasc.lowering import get_lowering
from nasc.networks.network import random_network
from profilers import RuntimeMissing, RuntimeOptions
from profilers.runtimes import installed
from profilers.runtimes.onnxruntime import OnnxRuntimeSession

GEOMETRY = Geometry(2, 32, 16, 64, 100, 16)
ARCHITECTURE = Architecture((Block(32, ("mha", "sep3", "ffn")),))
WORDS = ("the", "cat", "dog", "sat", "on", "a", "mat")


@pytest.fixture
def tokenizer() -> Tokenizer:
    vocab = {w: i for i, w in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    own = Tokenizer(WordLevel(vocab, unk_token="[UNK]"))
    own.pre_tokenizer = Whitespace()
    own.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    own.enable_padding(length=12)
    own.enable_truncation(5)
    return own


@pytest.fixture
def model(tmp_path: Path) -> Path:
    emit(random_network(ARCHITECTURE, GEOMETRY, vocab_rows=100), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


NEEDS_OPENVINO = pytest.mark.skipif(not installed("openvino")[0], reason="needs openvino")
RUNTIMES = ["onnxruntime", pytest.param("openvino", marks=NEEDS_OPENVINO)]

SENTENCES = ["the cat sat on a mat", "dog", "", "a dog sat on the cat", "mat mat"]


def test_vectors_come_in_the_order_of_the_sentences_whatever_the_batch(
    model: Path, tokenizer: Tokenizer
) -> None:
    encoder = Encoder(model, tokenizer)
    one_by_one = encoder.encode(SENTENCES, batch_size=1)
    assert one_by_one.shape == (5, 32)
    assert np.allclose(np.linalg.norm(one_by_one, axis=1), 1)
    for size in (2, 3, 5, 32):
        assert np.abs(encoder.encode(SENTENCES, batch_size=size) - one_by_one).max() < 1e-6
    assert len(np.unique(one_by_one.round(6), axis=0)) == 5


def test_the_tokenizer_given_is_not_changed_and_does_not_cut(
    model: Path, tokenizer: Tokenizer
) -> None:
    before = tokenizer.to_str()
    encoder = Encoder(model, tokenizer)
    assert encoder.tokenize(["the cat sat on a mat"]) == [[2, 4, 5, 7, 8, 9, 10, 3]]
    assert encoder.tokenize(["the cat sat on a mat"], 4) == [[2, 4, 5, 3]]
    assert encoder.tokenize(["a " * 50])[0][-1] == 3
    assert len(encoder.tokenize(["a " * 50])[0]) == 16
    assert tokenizer.to_str() == before


def test_an_encoder_cuts_to_its_own_length_unless_told_otherwise(
    model: Path, tokenizer: Tokenizer
) -> None:
    encoder, text = Encoder(model, tokenizer, max_length=5), "the cat sat on a mat"
    assert (encoder.max_length, Encoder(model).max_length) == (5, 16)
    assert encoder.tokenize([text]) == [[2, 4, 5, 7, 3]]
    assert len(encoder.tokenize([text], 8)[0]) == 8
    whole = Encoder(model, tokenizer)
    assert np.array_equal(encoder.encode([text]), whole.encode([text], max_length=5))
    assert not np.allclose(encoder.encode([text]), whole.encode([text]))
    with pytest.raises(UsageError, match=r"length 17: .* takes 1 to 16 tokens"):
        Encoder(model, tokenizer, max_length=17)


def test_hidden_states_are_pooled_to_the_vector_of_the_other_head(
    tmp_path: Path, model: Path
) -> None:
    path = tmp_path / "hidden.onnx"
    emit(random_network(ARCHITECTURE, GEOMETRY, "hidden", vocab_rows=100), path)
    texts = [[2, 5, 3], [2, 9, 8, 7, 3]]
    encoder = Encoder(path)
    assert encoder.run(*pad(texts)).shape == (2, 5, 32)
    pooled = encoder.encode_tokens(texts)
    unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
    assert np.abs(unit - Encoder(model).encode_tokens(texts)).max() < 1e-6


def test_the_session_is_the_measured_one(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = OnnxRuntimeSession.__init__

    def spy(self: OnnxRuntimeSession, path: Path, options: RuntimeOptions) -> None:
        seen.append((path, options))
        original(self, path, options)

    monkeypatch.setattr(OnnxRuntimeSession, "__init__", spy)
    Encoder(model, threads=2)
    own = RuntimeOptions(arena=False)
    Encoder(model, options=own)
    assert seen == [(model, RuntimeOptions(threads=2)), (model, own)]


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("head", ["embed", "hidden", "spans", "classify-3"])
def test_every_runtime_and_fixed_axes_give_the_same(
    tmp_path: Path, runtime: str, head: str
) -> None:
    network = random_network(ARCHITECTURE, GEOMETRY, head, vocab_rows=100)
    emit(network, tmp_path / "wanted.onnx")
    wanted = Encoder(tmp_path / "wanted.onnx")
    texts = [list(range(4, 4 + length)) for length in (3, 8, 1, 5, 2)]
    lowering = get_lowering(runtime)
    for shape in (None, (2, 9), (4, 8), (1, 16)):
        path = lowering.lower(network, tmp_path, shape=shape).path
        encoder = Encoder(path, runtime=runtime)
        assert encoder.shape == (shape or (None, None))
        assert (encoder.head, encoder.hidden) == (wanted.head, wanted.hidden)
        assert encoder.max_positions == encoder.max_length == (shape[1] if shape else 16)
        assert encoder.metadata == wanted.metadata
        ids, mask = pad(texts)
        assert encoder.run(ids, mask).shape == wanted.run(ids, mask).shape
        for size in (1, 3, 5):
            found = encoder.outputs(texts, batch_size=size)
            for row, right in zip(found, wanted.outputs(texts), strict=True):
                assert row.shape == right.shape
                assert np.abs(row - right).max() < 1e-5


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_fixed_axes_bound_the_length(tmp_path: Path, tokenizer: Tokenizer, runtime: str) -> None:
    network = random_network(ARCHITECTURE, GEOMETRY, vocab_rows=100)
    path = get_lowering(runtime).lower(network, tmp_path, shape=(1, 6)).path
    encoder = Encoder(path, tokenizer, runtime=runtime)
    assert encoder.tokenize(["the cat sat on a mat"]) == [[2, 4, 5, 7, 8, 3]]
    with pytest.raises(UsageError, match=r"length 7: .* takes 1 to 6 tokens"):
        Encoder(path, tokenizer, runtime=runtime, max_length=7)
    with pytest.raises(UsageError, match=r"7 tokens: .* takes up to 6"):
        encoder.encode_tokens([[1] * 7])


def test_a_batch_is_filled_up_with_what_is_in_it(tmp_path: Path) -> None:
    network = random_network(ARCHITECTURE.with_precision("int8"), GEOMETRY, vocab_rows=100)
    free, fixed = tmp_path / "free", tmp_path / "fixed"
    for folder, shape in ((free, None), (fixed, (8, 5))):
        folder.mkdir()
        get_lowering("onnxruntime").lower(network, folder, shape=shape)
    text = [[2, 5, 9, 8, 3]]
    vectors = [Encoder(folder / "model.onnx").encode_tokens(text) for folder in (free, fixed)]
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-6


def test_a_runtime_that_is_missing_is_named(model: Path) -> None:
    with pytest.raises(RuntimeMissing, match="unknown runtime 'tensorrt'"):
        Encoder(model, runtime="tensorrt")


@NEEDS_OPENVINO
def test_a_damaged_ir_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("<net>", encoding="utf-8")
    with pytest.raises(ExportError, match=r"openvino cannot load '.*model\.xml'"):
        Encoder(tmp_path / "model.xml", runtime="openvino")


def test_impossible_input_is_named(model: Path, tokenizer: Tokenizer) -> None:
    encoder = Encoder(model, tokenizer)
    with pytest.raises(UsageError, match="takes up to 16"):
        encoder.encode_tokens([[1] * 17])
    with pytest.raises(UsageError, match="hold a token"):
        encoder.encode_tokens([[]])
    with pytest.raises(UsageError, match="takes 1 to 16 tokens"):
        encoder.encode(["a"], max_length=17)
    with pytest.raises(UsageError, match="adds 2 special tokens"):
        encoder.encode(["a"], max_length=2)
    with pytest.raises(UsageError, match="batch size must be >= 1, got 0"):
        encoder.encode(["a"], batch_size=0)
    with pytest.raises(UsageError, match="without a tokenizer"):
        Encoder(model).encode(["a"])
    assert encoder.encode([]).shape == (0, 32)


def test_files_that_are_no_model_of_ours_are_named(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot load '.*nothing\.onnx'"):
        Encoder(tmp_path / "nothing.onnx")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(ExportError, match="onnxruntime cannot load"):
        Encoder(damaged)
    foreign = build(random_network(ARCHITECTURE, GEOMETRY, vocab_rows=100))
    del foreign.metadata_props[:]
    damaged.write_bytes(foreign.SerializeToString())
    with pytest.raises(ExportError, match=r"not written by nasc.*nasc\.head"):
        Encoder(damaged)


def test_padding_and_batches() -> None:
    ids, mask = pad([[5], [6, 7, 8]], 4)
    assert ids.tolist() == [[5, 0, 0, 0], [6, 7, 8, 0]]
    assert mask.tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]
    assert ids.dtype == mask.dtype == np.int64
    assert list(by_length([[1] * 3, [1], [1] * 2], 2)) == [[1, 2], [0]]


def test_token_ids_cut_exactly(tokenizer: Tokenizer) -> None:
    tokenizer.no_padding()
    assert token_ids(tokenizer, ["a a a a a a"], 6) == [[2, 9, 9, 9, 9, 3]]
