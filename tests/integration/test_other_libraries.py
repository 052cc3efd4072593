"""Other people's libraries load a package and give its vectors.

sentence-transformers with its ONNX backend and fastembed want other releases of transformers and
the hub's client than nasc does, and optimum-intel others again, so that they live in environments
of their own, whose Pythons NASC_LIBRARIES_PYTHON and NASC_OPENVINO_PYTHON name (.ci/run makes them:
libraries.txt, libraries-openvino.txt).
"""

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.evaluation.encoder import Encoder
from nasc.lowering import get_lowering
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import random_network
from nasc.package.build import build_package
from nasc.package.conditions import Conditions
from nasc.package.formats import format_of
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import read_manifest
from nasc.package.records import TaskRecord, TeacherRecord, TextRecord
from nasc.teacher import load_teacher

VARIABLE = "NASC_LIBRARIES_PYTHON"
PYTHON = os.environ.get(VARIABLE) or sys.executable
OPENVINO_VARIABLE = "NASC_OPENVINO_PYTHON"
OPENVINO_PYTHON = os.environ.get(OPENVINO_VARIABLE) or sys.executable
GEOMETRY = Geometry(
    layers=2, hidden=64, head_size=16, intermediate=256, vocab_size=100, max_positions=64
)
BLOCKS = (Block(64, ("mha", "sep3")), Block(32, ("ffn", "mha")))
TEXTS = [
    "the cat",
    "",
    "A man is playing a guitar, 2026.",
    "every sentence of this text says the same thing " * 30,
    "x",
    "naïve café 今天 🎸",
]
OFFLINE = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": ""}
WORDPIECE, BYTES = "word pieces", "bytes"

Package = Callable[..., Path]
Run = Callable[..., Any]


@functools.cache
def missing(*modules: str, python: str = PYTHON, variable: str = VARIABLE) -> str:
    """Why a library cannot be tested; empty if it can, and where a Python is named for it."""
    if variable in os.environ:  # the test itself says what is missing there
        return ""
    code = "; ".join(f"import {module}" for module in modules)
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    reason = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    return f"{python}: {reason[0]}. Name another Python: {variable}" if reason else ""


FORKS = """
import json, os, sys
exec(sys.argv[1])
for line in sys.stdin:
    folder, code, arguments, told = json.loads(line)
    if (child := os.fork()) == 0:
        os.chdir(folder)
        file = os.open(told, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.argv = ["-c", *arguments]
        exec(code, {})
        sys.stdout.flush()
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Forks:
    """A process that has imported libraries, which takes much longer than to use them."""

    def __init__(self, python: str, imports: str) -> None:
        self._process = subprocess.Popen(
            [python, "-c", FORKS, imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | OFFLINE,
        )

    def run(self, code: str, folder: Path, *arguments: str) -> Any:
        """Run lines of Python in a folder, in a fork; gives the JSON of their last line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory() as place:
            told = Path(place) / "told"
            request = json.dumps([str(folder), code, arguments, str(told)])
            print(request, file=self._process.stdin, flush=True)
            status = self._process.stdout.readline()
            said = told.read_text(encoding="utf-8") if told.exists() else ""
        assert status.strip() == "0", said
        return json.loads(said.strip().splitlines()[-1])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


IMPORTS = {
    PYTHON: "import sentence_transformers, optimum.onnxruntime, fastembed",
    OPENVINO_PYTHON: "import sentence_transformers, optimum.intel",
    sys.executable: "import transformers",  # the others may be missing there
}


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[..., Any]]:
    """Runs lines of Python in a folder with the libraries of a Python."""
    made: dict[str, Forks] = {}

    def call(code: str, folder: Path, *arguments: str, python: str = PYTHON) -> Any:
        if python not in made:
            made[python] = Forks(python, IMPORTS[python])
        return made[python].run(code, folder, *arguments)

    yield call
    for forks in made.values():
        forks.close()


def word_pieces() -> PreTrainedTokenizerFast:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    words += [f"##{letter}" for letter in letters] + [*",.!?-:/", "the", "cat"]
    own = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    own.normalizer = normalizers.BertNormalizer()
    own.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    own.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=own,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def byte_pieces() -> PreTrainedTokenizerFast:
    """As RoBERTa's: the padding is token 1, and a space before the first word is one of it."""
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    words += sorted(pre_tokenizers.ByteLevel.alphabet())[: 100 - len(words)]
    own = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [], unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    own.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(
        tokenizer_object=own,
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        mask_token="<mask>",
        bos_token="<s>",
        eos_token="</s>",
    )


TOKENIZERS = {WORDPIECE: word_pieces, BYTES: byte_pieces}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A tiny package."""

    def make(
        precision: str = "fp32",
        head: str = "embed",
        kind: str = WORDPIECE,
        runtime: str = "onnxruntime",
    ) -> Path:
        folder = tmp_path_factory.mktemp("package")
        architecture = Architecture(BLOCKS, precision)
        network = random_network(architecture, GEOMETRY, head)
        offered = ("fp32", "bf16", "int8")
        return build_package(
            folder / "tiny",
            model=get_lowering(runtime).lower(network, folder, offered=offered),
            tokenizer=TOKENIZERS[kind](),
            manifest=Manifest(
                architecture=architecture,
                geometry=GEOMETRY,
                head=head,
                max_length=48,
                limits={},
                conditions=Conditions("host", runtime, 2, 16, 1, "made-up"),
                teacher=TeacherRecord("tiny", "0" * 64, "made up"),
                text=TextRecord("no text", "0" * 64),
            ),
        )

    return make


def vectors(folder: Path, batch_size: int) -> NDArray[np.float32]:
    """What nasc itself gives."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    runtime = read_manifest(folder).conditions.runtime
    model = folder / format_of(runtime).MODEL
    return Encoder(model, tokenizer, runtime=runtime, max_length=48).encode(TEXTS, batch_size)


def readme_block(folder: Path, library: str) -> str:
    """The lines of Python that a package's README gives for a library."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (found,) = [block for block in blocks if f"from {library} import" in block]
    return found


def sentence_transformers() -> str:
    return missing("sentence_transformers", "optimum.onnxruntime")


CROSS_ENCODER = """
import json, os, sys

pairs, teacher, package, block = json.loads(sys.argv[1])
os.chdir(package)
exec(block)
found = [
    one.predict(pairs, batch_size=size).tolist()
    for one in (CrossEncoder(teacher, local_files_only=True), model)
    for size in (len(pairs), 1)
]
print(json.dumps(found))
"""
PAIRS = list(zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True))


@pytest.fixture(scope="module")
def reranker(teacher_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher's folder with a head for pairs, of random weights."""
    source, folder = teacher_folder("bert"), tmp_path_factory.mktemp("reranker")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=1)
        for name, value in model.named_parameters():
            if "classifier" in name or "pooler" in name:
                value.data = 0.5 * torch.randn(value.shape)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_cross_encoder_gives_the_scores_of_its_teacher(
    reranker: Path, tmp_path: Path, runtime: str, run: Run
) -> None:
    """By the lines of the README, in the library's own torch and through the package."""
    if reason := sentence_transformers() if runtime == "onnxruntime" else optimum_intel():
        pytest.skip(reason)
    teacher = load_teacher(reranker)
    architecture = Architecture((Block(32, ("mha", "ffn"), kept=True),) * 2)
    network = teacher_network(teacher, architecture)
    folder = build_package(
        tmp_path / "package",
        model=get_lowering(runtime).lower(network, tmp_path),
        tokenizer=teacher.tokenizer,
        manifest=Manifest(
            architecture=architecture,
            geometry=network.geometry,
            head=network.head,
            task=TaskRecord("reranking", (), True, teacher.activation),
            max_length=teacher.max_length,
            limits={},
            conditions=Conditions("host", runtime, 2, 16, 1, "made-up"),
            teacher=TeacherRecord("tiny", "0" * 64, "made up"),
            text=TextRecord("no text", "0" * 64),
        ),
    )
    block = readme_block(folder, "sentence_transformers")
    given = json.dumps([PAIRS, str(reranker), str(folder), block])
    python = PYTHON if runtime == "onnxruntime" else OPENVINO_PYTHON
    theirs, alone, ours, ours_alone = np.array(run(CROSS_ENCODER, tmp_path, given, python=python))
    assert np.ptp(theirs) > 0.01
    for found in (alone, ours, ours_alone):
        np.testing.assert_allclose(found, theirs, atol=1e-5)


TOKEN_HEADS = """
import json, os, sys

teacher, package, block, kind, given = json.loads(sys.argv[1])
os.chdir(package)
exec(block)
import transformers
from transformers import pipeline

theirs = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(teacher)
ner = kind == "TokenClassification"
found = []
own = AutoTokenizer.from_pretrained(teacher)
for one, reads in ((theirs, own), (model, tokenizer)):
    run = pipeline("ner" if ner else "question-answering", model=one, tokenizer=reads)
    if ner:
        found.append([[e["word"], e["entity"], float(e["score"])] for e in sum(run(given), [])])
    else:
        answers = [run(question=q, context=c, max_seq_len=40) for q, c in given]
        found.append([[a["answer"], str(a["start"]), float(a["score"])] for a in answers])
print(json.dumps(found))
"""
QUESTIONS = [
    ("who sat on the mat", "the cat sat on a mat. a dog ran to the house and slept in the sun."),
    ("where did it run", "it was big and ran to the house " * 20),  # in several windows
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["TokenClassification", "QuestionAnswering"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_pipelines_find_what_they_find_with_the_teacher(
    teacher_folder: Callable[..., Path],
    tmp_path: Path,
    runtime: str,
    kind: str,
    run: Callable[..., Any],
) -> None:
    """By the lines of the README, in the library's own torch and through the package."""
    if reason := sentence_transformers() if runtime == "onnxruntime" else optimum_intel():
        pytest.skip(reason)
    if runtime == "openvino" and kind == "QuestionAnswering":
        pytest.skip("transformers 5, which optimum-intel is tested with, has no such pipeline")
    source, answers = teacher_folder("bert"), kind == "QuestionAnswering"
    own = tmp_path / "own"
    more: dict[str, Any] = {} if answers else {"id2label": {0: "O", 1: "B-X", 2: "I-X"}}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(source, **more)
        for name, value in model.named_parameters():
            if "classifier" in name or "qa_outputs" in name:
                value.data = 2 * torch.randn(value.shape)
    model.save_pretrained(own)
    AutoTokenizer.from_pretrained(source).save_pretrained(own)
    teacher = load_teacher(own)
    architecture = Architecture((Block(32, ("mha", "ffn"), kept=True),) * 2)
    network = teacher_network(teacher, architecture)
    name = "question-answering" if answers else "token-classification"
    folder = build_package(
        tmp_path / "package",
        model=get_lowering(runtime).lower(network, tmp_path),
        tokenizer=teacher.tokenizer,
        manifest=Manifest(
            architecture=architecture,
            geometry=network.geometry,
            head=network.head,
            task=TaskRecord(name, teacher.labels, teacher.paired),
            max_length=teacher.max_length,
            limits={},
            conditions=Conditions("host", runtime, 2, 16, 1, "made-up"),
            teacher=TeacherRecord("tiny", "0" * 64, "made up"),
            text=TextRecord("no text", "0" * 64),
        ),
    )
    library = "optimum.onnxruntime" if runtime == "onnxruntime" else "optimum.intel"
    block = readme_block(folder, library)
    python = PYTHON if runtime == "onnxruntime" else OPENVINO_PYTHON
    given = QUESTIONS if answers else ["the cat sat on a mat.", "a dog ran to the house"]
    arguments = json.dumps([str(own), str(folder), block, kind, given])
    theirs, ours = run(TOKEN_HEADS, tmp_path, arguments, python=python)
    assert len(theirs) >= 2
    assert [row[:2] for row in ours] == [row[:2] for row in theirs]
    np.testing.assert_allclose([row[2] for row in ours], [row[2] for row in theirs], atol=1e-4)


def fastembed() -> str:
    return missing("fastembed")


SENTENCE_TRANSFORMERS = """
import json
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(".", backend="onnx", local_files_only=True)
vectors = model.encode({texts!r}, batch_size={batch_size}).tolist()
print(json.dumps([model.max_seq_length, vectors]))
"""
CASES = [
    ("fp32", "embed", WORDPIECE, 32),
    ("fp32", "embed", BYTES, 2),
    ("int8", "embed", WORDPIECE, 1),
    ("fp32", "hidden", BYTES, 32),
    ("fp32", "embed-cls", WORDPIECE, 32),
    ("fp32", "embed-max-unscaled", BYTES, 2),
    ("fp32", "hidden-cls", BYTES, 32),
]


@pytest.mark.slow
def test_sentence_transformers_gives_the_vectors(package: Package, run: Run) -> None:
    if reason := sentence_transformers():
        pytest.skip(reason)
    for *which, batch_size in CASES:
        folder = package(*which)
        code = SENTENCE_TRANSFORMERS.format(texts=TEXTS, batch_size=batch_size)
        length, rows = run(code, folder)
        assert length == 48
        np.testing.assert_allclose(np.array(rows), vectors(folder, batch_size), atol=1e-5)
    folder = package("int8")
    code = readme_block(folder, "sentence_transformers")
    by_readme = run(f"{code}\nimport json; print(json.dumps(vectors.tolist()))", folder)
    assert np.array(by_readme).shape == (2, 64)


FASTEMBED = """
{block}
import json
import numpy as np

found = list(model.embed({texts!r}, batch_size={batch_size}))
print(json.dumps(np.array(found).tolist()))
"""


@pytest.mark.slow
def test_fastembed_gives_the_vectors(package: Package, run: Run) -> None:
    """By the README's own lines."""
    if reason := fastembed():
        pytest.skip(reason)
    for *which, batch_size in CASES:
        folder = package(*which)
        block = readme_block(folder, "fastembed")
        rows = run(FASTEMBED.format(block=block, texts=TEXTS, batch_size=batch_size), folder)
        np.testing.assert_allclose(np.array(rows), vectors(folder, batch_size), atol=1e-5)


def optimum_intel() -> str:
    modules = ("openvino", "optimum.intel", "sentence_transformers")
    return missing(*modules, python=OPENVINO_PYTHON, variable=OPENVINO_VARIABLE)


OPENVINO_CASES = [
    ("fp32", "embed", WORDPIECE, 32),
    ("fp32", "embed", BYTES, 2),
    ("fp32", "hidden", BYTES, 32),
    ("fp32", "embed-cls", WORDPIECE, 32),
    ("fp32", "embed-max-unscaled", BYTES, 2),
    ("fp32", "hidden-cls", BYTES, 32),
    ("bf16", "embed", WORDPIECE, 1),
    ("int8", "embed", WORDPIECE, 1),
]
"""Reduced precisions alone in a batch: padding may change how their sums are rounded."""
ALLOWED = {"fp32": 1e-5, "bf16": 1e-3, "int8": 5e-3}
"""Libraries run all cores, where bfloat16 is rounded at other places of a sum, and reshape the
graph, which OpenVINO then joins otherwise: activations that it turns into int8 in the run are
rounded at other places (0.0026 seen with AVX512-BF16; with a group size of 0, which takes that
rounding away, nothing differs)."""


THROUGH_OPENVINO = """
import json, os, sys

texts, cases = json.loads(sys.argv[1])
found = []
for folder, block, size in cases:
    os.chdir(folder)
    exec(block)
    if size is None:
        batches = [tokenizer([one], truncation=True, return_tensors="pt") for one in texts]
        rows = [model(**batch).last_hidden_state[0, 0].tolist() for batch in batches]
        found.append([tokenizer.model_max_length, rows])
    else:
        found.append([model.max_seq_length, model.encode(texts, batch_size=size).tolist()])
print(json.dumps(found))
"""


@pytest.mark.slow
def test_libraries_give_the_vectors_of_an_ir(package: Package, tmp_path: Path, run: Run) -> None:
    """By the lines of the README: sentence-transformers, and (without a batch size) optimum."""
    if reason := optimum_intel():
        pytest.skip(reason)
    cases: list[tuple[str, str, int | None]] = []
    allowed = []
    for *which, batch_size in OPENVINO_CASES:
        folder = package(*which, "openvino")
        allowed += [ALLOWED[which[0]]] * (2 if which[1].startswith("embed") else 1)
        cases.append((str(folder), readme_block(folder, "sentence_transformers"), batch_size))
        if which[1].startswith("embed"):
            cases.append((str(folder), readme_block(folder, "optimum.intel"), None))
    code = json.dumps([TEXTS, cases])
    found = run(THROUGH_OPENVINO, tmp_path, code, python=OPENVINO_PYTHON)
    for (length, rows), (path, _, size), most in zip(found, cases, allowed, strict=True):
        assert length == 48
        np.testing.assert_allclose(np.array(rows), vectors(Path(path), size or 1), atol=most)


TRANSFORMERS = """
import json, sys
from transformers import AutoConfig, AutoTokenizer

texts, folders = json.loads(sys.argv[1])
found = []
for folder in folders:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = tokenizer(texts, truncation=True)["input_ids"]
    size = AutoConfig.from_pretrained(folder, local_files_only=True).hidden_size
    found.append([ids, tokenizer.model_max_length, tokenizer.pad_token_id, size])
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("python", sorted({sys.executable, PYTHON, OPENVINO_PYTHON}))
def test_transformers_of_every_release_reads_the_tokenizer(
    package: Package, tmp_path: Path, python: str, run: Run
) -> None:
    folders = [str(package(kind=kind)) for kind in (WORDPIECE, BYTES)]
    found = run(TRANSFORMERS, tmp_path, json.dumps([TEXTS, folders]), python=python)
    for one, folder, pad_id in zip(found, folders, (0, 1), strict=True):
        own = Tokenizer.from_file(f"{folder}/tokenizer.json")
        wanted = [encoding.ids for encoding in own.encode_batch(TEXTS)]
        assert one == [wanted, 48, pad_id, 64]
        assert max(map(len, wanted)) == 48


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_onnxruntime_s_preprocessing_follows_a_package(
    package: Package, tmp_path: Path, precision: str
) -> None:
    """As its manual says it: python -m onnxruntime.quantization.preprocess."""
    folder = package(precision)
    ready = tmp_path / "ready.onnx"
    command = ["-m", "onnxruntime.quantization.preprocess", "--input", folder / "model.onnx"]
    done = subprocess.run(
        [sys.executable, *command, "--output", ready],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    found = Encoder(ready, tokenizer, max_length=48).encode(TEXTS, 1)
    np.testing.assert_allclose(found, vectors(folder, 1), atol=1e-5)


@pytest.mark.slow
def test_transformers_says_that_there_are_no_weights(package: Package) -> None:
    """A configuration of a known family must not become a network of random weights."""
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        AutoModel.from_pretrained(package())
