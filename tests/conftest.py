"""Shared set-up: no network, no cache outside the test's own folder.

Lets all tests import `stopped`.
"""

import dataclasses
import functools
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import pytest

sys.path.append(str(Path(__file__).parent))

# Before transformers or datasets are imported by any test: nothing is looked up online.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Processes of tests have the cores to themselves: what several would make, each makes by itself,
# where kernels are kept that another test had compiled.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("NASC_PROCESS_CORES", "1")


CLOCK = "mark.clock"
"""What a file says that has tests with that mark."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--clock",
        choices=("with", "without", "only"),
        default="with",
        help="whether tests with the mark 'clock' run, which need the machine for themselves",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """To import all tests takes longer than those with the mark run."""
    if config.getoption("--clock") != "only" or collection_path.suffix != ".py":
        return None
    return None if CLOCK in collection_path.read_text("utf-8") else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--clock")
    if wanted == "with":
        return
    marked = {item for item in items if "clock" in item.keywords}
    if unseen := [item for item in marked if CLOCK not in item.path.read_text("utf-8")]:
        raise pytest.UsageError(f"{unseen[0].path} does not say {CLOCK!r}: it would be left out")
    left_out = [item for item in items if (item in marked) != (wanted == "only")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if (item in marked) == (wanted == "only")]


_OWN_CACHES = itertools.count()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and config folder for every test, never the user's own.

    Beside no other folders of tests: pytest reads all names there for every one that it makes.
    """
    root = tmp_path_factory.getbasetemp() / "xdg" / str(next(_OWN_CACHES))
    root.mkdir(parents=True)
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(root / name.lower()))
    return root


@pytest.fixture(autouse=True, scope="session")
def little_patience() -> Iterator[None]:
    """Nothing waits for a quiet machine: tests look at what is measured, not at how well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("profilers.protocol.QUIET_PATIENCE_S", 1.0)
        patch.setattr("profilers.baseline.MIN_RECORD_S", 0.3)
        patch.setattr("profilers.baseline.MAX_RECORD_S", 1.0)
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes of a run: what one made, under a lock, the others take."""
    root = tmp_path_factory.getbasetemp()
    return root.parent if "PYTEST_XDIST_WORKER" in os.environ else root


@pytest.fixture(autouse=True, scope="session")
def one_compiler_cache(shared_folder: Path) -> Iterator[None]:
    """What the native worker's compiler makes for itself once serves all processes of a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZIG_GLOBAL_CACHE_DIR", str(shared_folder / "zig"))
        yield


@pytest.fixture(scope="session")
def built_cache(shared_folder: Path) -> Path:
    """A cache folder that holds the native worker for this machine."""
    from profilers.runner import build
    from profilers.runner.targets import this_machine

    with filelock.FileLock(shared_folder / "runner.lock"):
        build.build_runner(this_machine().name, shared_folder / "runner-cache")
    return shared_folder / "runner-cache"


@pytest.fixture(scope="session")
def built_for_arm64(built_cache: Path, shared_folder: Path) -> Path:
    """The same folder, with the native worker for 64-bit ARM and its library, which is fetched."""
    from profilers.runner import build, library

    with filelock.FileLock(shared_folder / "runner.lock"):
        build.build_runner("aarch64-linux", built_cache)
        library.runtime_library("aarch64-linux", built_cache)
    return built_cache


@functools.cache
def _drawn_once() -> Callable[..., Any]:
    """Draws networks of random weights, each once in a process.

    Their weights lie by themselves: those drawn are of a pool of 4 MB.
    """
    from nasc.networks.network import random_network

    @functools.cache
    def drawn(*about: Any, **options: Any) -> Any:
        network = random_network(*about, **options)
        own = tuple({name: value.copy() for name, value in one.items()} for one in network.tensors)
        return dataclasses.replace(network, tensors=own)

    return drawn


@pytest.fixture(scope="module")
def networks_drawn_once() -> Iterator[None]:
    """Tables of the same plan are made of the same networks: to draw one takes 20 ms."""
    drawn = _drawn_once()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasc.networks.network.random_network", drawn)
        yield


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of SQuAD: 14 paragraphs of words, each with two questions of some of these."""
    import numpy as np

    rng = np.random.default_rng(0)
    paragraphs = []
    for i in range(14):
        words = list(rng.choice("the cat sat mat dog sun house big small ran slept on".split(), 9))
        qas = [
            {
                "id": f"{i}-{k}",
                "question": " ".join(words[k : k + 6]),
                "answers": [{"text": words[0], "answer_start": 0}],
            }
            for k in range(2)
        ]
        paragraphs.append({"context": " ".join(words), "qas": qas})
    path = tmp_path_factory.mktemp("squad") / "dev-v1.1.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes folders of tiny random teachers: `teacher_folder("roberta", layers=3)`.

    Families: those of `nasc.teacher.FAMILIES`. Sizes: layers=2, hidden=32, heads=4,
    intermediate=64, positions=40 (usable), embedding=hidden
    (of ELECTRA and ALBERT). The same arguments give the same folder; write
    into a copy of it.
    """
    made: dict[object, Path] = {}

    def make(family: str = "bert", **sizes: int) -> Path:
        key = (family, *sorted(sizes.items()))
        if key not in made:
            made[key] = tmp_path_factory.mktemp(f"teacher-{family}")
            _save_teacher(made[key], family, **sizes)
        return made[key]

    return make


def _save_teacher(
    folder: Path,
    family: str,
    *,
    layers: int = 2,
    hidden: int = 32,
    heads: int = 4,
    intermediate: int = 64,
    positions: int = 40,
    embedding: int | None = None,
) -> None:
    import torch
    import transformers

    tokenizer = _tiny_tokenizer(family)
    is_roberta = family in ("roberta", "xlm-roberta", "camembert", "mpnet")
    if is_roberta:  # else transformers says the rows, which are 2 more
        tokenizer.model_max_length = positions
    names: dict[str, Any] = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
    }
    if family == "distilbert":
        names = {"n_layers": layers, "dim": hidden, "n_heads": heads, "hidden_dim": intermediate}
    if family in ("electra", "albert"):
        names["embedding_size"] = hidden if embedding is None else embedding
    if family == "modernbert":
        names["local_attention"] = 8  # so that texts are longer than a window
    config = transformers.AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer) + 3,
        max_position_embeddings=positions + (2 if is_roberta else 0),
        pad_token_id=tokenizer.pad_token_id,
        **names,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(config)
        # Fresh biases are 0 and fresh norms 1: a mixed-up tensor would go unnoticed.
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
        word = model.get_input_embeddings().weight
        word.data[tokenizer.pad_token_id] = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tiny_tokenizer(family: str) -> Any:
    import tokenizers
    import transformers

    words = "the a cat dog sat on mat ran to house and slept in sun it was big small".split()
    if family == "modernbert":
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        vocab = {token: i for i, token in enumerate([*special, *sorted(alphabet)])}
        own = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, [], unk_token="[UNK]"))
        own.normalizer = tokenizers.normalizers.NFC()
        own.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        own.decoder = tokenizers.decoders.ByteLevel()
        own.post_processor = tokenizers.processors.TemplateProcessing(
            "[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", [("[CLS]", 2), ("[SEP]", 3)]
        )
        names = ("pad", "unk", "cls", "sep", "mask")
        return transformers.PreTrainedTokenizerFast(
            tokenizer_object=own,
            model_input_names=["input_ids", "attention_mask"],
            **{f"{name}_token": f"[{name.upper()}]" for name in names},
        )
    if family == "roberta":
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(alphabet)]
        vocab = {token: i for i, token in enumerate(tokens)}
        return transformers.RobertaTokenizer(vocab=vocab, merges=[])
    if family in ("xlm-roberta", "camembert", "albert"):
        pieces = [(f"▁{word}", -1.0) for word in words]
        pieces += [(p + c, -3.0) for c in "abcdefghijklmnopqrstuvwxyz.,?!" for p in ("", "▁")]
        if family == "albert":
            special = [(t, 0.0) for t in ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")]
            return transformers.AlbertTokenizer(vocab=[*special, *dict(pieces).items()])
        special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
        vocab = [*special, *dict(pieces).items(), ("<mask>", 0.0)]
        kind = "XLMRobertaTokenizer" if family == "xlm-roberta" else "CamembertTokenizer"
        return getattr(transformers, kind)(vocab=vocab)
    letters = [p + c for c in "abcdefghijklmnopqrstuvwxyz.,?!" for p in ("", "##")]
    if family == "mpnet":
        tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "[UNK]", *letters, *words]
        return transformers.MPNetTokenizer(
            vocab={token: i for i, token in enumerate(dict.fromkeys(tokens))}
        )
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *words]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    kind = transformers.ElectraTokenizer if family == "electra" else transformers.BertTokenizer
    return kind(vocab=vocab)
