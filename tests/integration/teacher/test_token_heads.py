"""Heads that come with a teacher and score tokens: as transformers, through pipelines too."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from teacher_folders import as_sentence_transformers, edit_json
from transformers import AutoTokenizer, pipeline
from transformers.modeling_outputs import TokenClassifierOutput

from nasc.architecture.space import Architecture, Block
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.context.teacher_check import check_pairs
from nasc.errors import UnsupportedFamily, UsageError
from nasc.evaluation.encoder import Encoder, open_here
from nasc.evaluation.parity import check_parity
from nasc.evaluation.parity_report import ReducedPrecisionReport
from nasc.lowering import get_lowering
from nasc.networks.from_teacher import teacher_network
from nasc.pipelines.artifact_quality import ArtifactEvaluator
from nasc.teacher import FAMILIES, Teacher, load_teacher
from nasc.teacher.library import check_against_library

Folders = Callable[..., Path]
HEADED = tuple(family for family in FAMILIES if family != "modernbert")
WORDS = "cat dog mat house sun".split()
WHOLE = Architecture((Block(32, ("mha", "ffn"), kept=True),) * 2)
LABELS = {0: "O", 1: "B-PER", 2: "I-PER"}
NER, QUESTIONS = "AutoModelForTokenClassification", "AutoModelForQuestionAnswering"
CASES = [(family, NER) for family in HEADED]
CASES += [(family, QUESTIONS) for family in ("bert", "roberta", "distilbert")]


def with_head(source: Path, folder: Path, kind: str, **config: object) -> Path:
    """A teacher's folder with a head of random weights over its tokens."""
    more = config or ({"id2label": LABELS} if kind == NER else {})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, kind).from_pretrained(source, **more)
        for name, value in model.named_parameters():
            if "classifier" in name or "qa_outputs" in name:
                value.data = 0.5 * torch.randn(value.shape)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def encoder_of(teacher: Teacher, folder: Path, runtime: str = "onnxruntime") -> Encoder:
    model = get_lowering(runtime).lower(teacher_network(teacher, WHOLE), folder)
    length = teacher.max_length
    return Encoder(model.path, teacher.tokenizer, runtime=runtime, max_length=length)


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_scores_of_tokens_are_those_of_transformers(
    teacher_folder: Folders, tmp_path: Path, family: str, kind: str
) -> None:
    folder = with_head(teacher_folder(family), tmp_path / "own", kind)
    teacher = load_teacher(folder)
    given = ("tokens-dense3identity-unscaled", tuple(LABELS.values()), False)
    if kind == QUESTIONS:
        given = ("answers-dense2identity-unscaled", (), True)
    assert (teacher.head(), teacher.labels, teacher.paired) == given
    encoder = encoder_of(teacher, tmp_path)
    for outputs in (teacher.outputs, encoder.outputs_of):
        check = check_against_library(teacher, folder, outputs)
        assert check.library.startswith("transformers ")
        assert check.note == ""
        assert check.max_abs < 1e-5
    with pytest.raises(UnsupportedFamily, match="its vectors differ"):
        check_against_library(
            teacher, folder, lambda texts: [one + 1e-3 for one in teacher.outputs(texts)]
        )
    names = [output.name for output in encoder._session._session.get_outputs()]  # type: ignore[attr-defined]
    assert names == (["start_logits", "end_logits"] if kind == QUESTIONS else ["logits"])


@pytest.mark.parametrize("kind", [NER, QUESTIONS])
def test_openvino_gives_the_same(teacher_folder: Folders, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("openvino")
    folder = with_head(teacher_folder("bert"), tmp_path / "own", kind)
    teacher = load_teacher(folder)
    encoder = encoder_of(teacher, tmp_path, "openvino")
    assert check_against_library(teacher, folder, encoder.outputs_of).max_abs < 1e-5
    network = teacher_network(teacher, WHOLE)
    check_parity(network, encoder, [[2, 5, 6, 7, 3]], lengths=(1, 3, 16))


class Packaged(torch.nn.Module):
    """A graph in the place of a model of transformers."""

    def __init__(self, encoder: Encoder, config: Any) -> None:
        super().__init__()
        self.encoder, self.config, self.device = encoder, config, torch.device("cpu")
        self.dtype, self.name_or_path = torch.float32, "packaged"

    def can_generate(self) -> bool:
        return False

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any
    ) -> TokenClassifierOutput:
        logits = self.encoder.run(input_ids.numpy(), attention_mask.numpy())
        return TokenClassifierOutput(logits=torch.from_numpy(logits))


def test_the_pipeline_of_transformers_finds_the_same(
    teacher_folder: Folders, tmp_path: Path
) -> None:
    folder = with_head(teacher_folder("bert"), tmp_path / "own", NER)
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ours = Packaged(encoder_of(load_teacher(folder), tmp_path), theirs.config)
    texts = ["the cat sat on a mat.", "a dog ran to the house and slept in the sun"]
    found = [
        pipeline("token-classification", model=model, tokenizer=tokenizer)(texts)
        for model in (theirs, ours)
    ]
    assert sum(map(len, found[0])) > 3
    for wanted, given in zip(*found, strict=True):
        assert [one["word"] for one in given] == [one["word"] for one in wanted]
        assert [one["entity"] for one in given] == [one["entity"] for one in wanted]
        np.testing.assert_allclose(
            [one["score"] for one in given], [one["score"] for one in wanted], atol=1e-4
        )


@pytest.mark.parametrize("kind", [NER, QUESTIONS])
def test_a_reduced_file_whose_tokens_are_others_is_refused(
    teacher_folder: Folders, tmp_path: Path, kind: str
) -> None:
    """Though the mean of its states is the same."""
    folder = with_head(teacher_folder("bert"), tmp_path / "own", kind)
    if kind == NER:  # classes that int8 keeps: one is ahead for nearly all tokens
        model = transformers.AutoModelForTokenClassification.from_pretrained(folder)
        model.classifier.weight.data *= 0.1
        model.classifier.bias.data = torch.tensor([0.0, 3.0, 0.0])
        model.save_pretrained(folder)
    texts = [f"the {one} sat on the {two} and slept" for one in WORDS for two in WORDS]
    rows = [f"{one} {text}\t{text}" for one in WORDS for text in texts]
    (tmp_path / "text.txt").write_text("\n\n".join(texts), encoding="utf-8")
    (tmp_path / "pairs.tsv").write_text("\n".join(rows), encoding="utf-8")
    given: dict[str, Any] = {"corpus": (str(tmp_path / "text.txt"),)}
    if kind == QUESTIONS:
        given = {"pairs": tmp_path / "pairs.tsv"}
    context = RunContext(Settings(teacher=str(folder), cache=tmp_path / "cache", **given))
    lower = get_lowering("onnxruntime").lower
    session = SimpleNamespace(
        lower=lambda network, folder, name, shape: lower(network, folder, name, shape=shape)
    )
    context.session = lambda runtime: session  # type: ignore[assignment, method-assign, return-value]
    judge = ArtifactEvaluator(context, None, None, open_here)
    network = teacher_network(context.teacher, WHOLE.with_precision("int8"))
    report, refused = judge.parity(network, lower(network, tmp_path, "right"))
    assert isinstance(report, ReducedPrecisionReport)
    assert report.mean_cosine > 0.98
    assert kind == QUESTIONS or refused is None
    head = network.tensors[-1]
    turned = {name: np.roll(head[name], 1, axis=0) for name in ("dense1_weight", "dense1_bias")}
    other = network.with_head(network.head, {**head, **turned})
    report, refused = judge.parity(network, lower(other, tmp_path, "other"))
    assert refused is not None
    assert report.mean_cosine < 0.98


def test_the_encoder_alone_is_given_where_it_is_asked_for(
    teacher_folder: Folders, tmp_path: Path
) -> None:
    for kind in (NER, QUESTIONS, "AutoModelForSequenceClassification"):
        folder = with_head(teacher_folder("bert"), tmp_path / kind, kind)
        own, bare = load_teacher(folder), load_teacher(folder, bare=True)
        assert own.fingerprint != bare.fingerprint
        assert (bare.head(), bare.output, bare.paired) == ("embed-unscaled", "embed", False)
        assert (bare.own_head("embed"), bare.own_head("hidden")) == (
            "embed-unscaled",
            "hidden-unscaled",
        )
        check = check_against_library(bare, folder, bare.vectors)
        assert check.library.startswith("sentence-transformers ")
        assert check.max_abs < 1e-5
    with pytest.raises(UsageError, match="has no vector of a text"):
        load_teacher(tmp_path / NER).vectors(["a"])


def test_what_does_not_fit_is_refused(
    teacher_folder: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_head(teacher_folder("bert"), tmp_path / "own", QUESTIONS)
    teacher = load_teacher(folder)
    with pytest.raises(UsageError, match=r"answers to questions .* question and passage.*--pairs"):
        check_pairs(teacher, None)
    with pytest.raises(UsageError, match=r"--head embed takes one text .* leave --pairs p out"):
        check_pairs(load_teacher(folder, bare=True), Path("p"), "embed")
    with pytest.raises(UsageError, match=r"a --task, which has its own data: leave --pairs p out"):
        check_pairs(load_teacher(folder, bare=True), Path("p"), "classify-2")
    edit_json(folder / "config.json", id2label={"0": "a", "1": "b", "2": "c"})
    with pytest.raises(UnsupportedFamily, match=r"config\.json: num_labels = 3; supported is 2"):
        load_teacher(folder)
    bare = load_teacher(folder, bare=True)  # what its head would give is nothing to it
    assert check_against_library(bare, folder, bare.vectors).max_abs < 1e-5
    several = with_head(
        teacher_folder("bert"),
        tmp_path / "several",
        "AutoModelForSequenceClassification",
        problem_type="multi_label_classification",
        num_labels=3,
    )
    with pytest.raises(UnsupportedFamily, match="problem_type"):
        load_teacher(several)
    assert load_teacher(several, bare=True).head() == "embed-unscaled"
    other = with_head(teacher_folder("bert"), tmp_path / "other", NER)
    monkeypatch.setattr("nasc.teacher.folder.MAX_TOKEN_SCORES", 2 * 40)
    with pytest.raises(UnsupportedFamily, match=r"num_labels = 3; supported is 2 classes at most"):
        load_teacher(other)
    monkeypatch.undo()
    as_sentence_transformers(other)
    with pytest.raises(UnsupportedFamily, match="2 tensors are no part of the encoder"):
        load_teacher(other)
