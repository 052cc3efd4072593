"""Scoring packages: the shipped file, in the batch size that the package promises."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from click.testing import CliRunner
from transformers import AutoTokenizer, BertTokenizer

from nasc.api import Queries, evaluate
from nasc.cli import main
from nasc.errors import PackageError, UsageError
from nasc.evaluation.encoder import Encoder
from nasc.package.build import build_package
from nasc.package.read_manifest import read_manifest
from nasc.package.records import TeacherRecord
from nasc.pipelines.score_vectors import AgainstTeacher, teacher_of
from nasc.tasks.sts import evaluate_sts, read_sts
from nasc.teacher import load_teacher
from nasc.teacher.folder import DEFAULT_TEACHER

pytestmark = pytest.mark.usefixtures("shared_process")

DATA = {
    "sts-b": "sentence1,sentence2,score\nthe cat,a cat sat here,4\ncat,the,1\nsat,x y z,0\n",
    "sst-2": "sentence,label\nthe cat,1\na cat sat here,0\nx,1\n",
}


@pytest.mark.slow
@pytest.mark.parametrize(("head", "task"), [("embed", "sts-b"), ("classify-2", "sst-2")])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_package_is_scored_in_the_batch_size_that_it_promises(
    tmp_path: Path,
    tokenizer: BertTokenizer,
    make_model: Callable[..., Path],
    make_manifest: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    head: str,
    task: str,
    batch: int,
) -> None:
    model = make_model("int8", head)
    manifest = make_manifest(model, "int8", head)
    folder = build_package(
        tmp_path / "p",
        model=model,
        tokenizer=tokenizer,
        manifest=dataclasses.replace(
            manifest, conditions=dataclasses.replace(manifest.conditions, batch=batch)
        ),
    )
    sizes: list[int] = []
    run = Encoder.run

    def counted(self: Encoder, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        sizes.append(len(ids))
        return run(self, ids, mask)

    monkeypatch.setattr(Encoder, "run", counted)
    data = tmp_path / "dev.csv"
    data.write_text(DATA[task], encoding="utf-8")
    found = evaluate(folder, task, data)
    assert found.folder == folder
    assert max(sizes) == batch


def test_a_path_that_is_not_utf_8_is_refused_at_the_start(
    tmp_path: Path, packed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime and tokenizers take text; each command says so before any work."""
    folder = tmp_path / os.fsdecode(b"\xff")
    shutil.copytree(packed["fp32", "embed"], folder / "p")
    monkeypatch.chdir(folder)  # a relative path is as little theirs
    (tmp_path / "dev.csv").write_text(DATA["sts-b"], encoding="utf-8")
    for command in (
        ["verify", "p", "--json"],
        ["evaluate", "p", "--task", "sts-b", "--data", str(tmp_path / "dev.csv"), "--json"],
        ["bench", "p/model.onnx", "--json"],
        ["compile", "--latency-ms", "20", "--output", "new", "--cache", str(tmp_path / "cache")],
        ["compile", "--latency-ms", "20", "--output", str(tmp_path / "new"), "--cache", "cache"],
    ):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2, (command, done.output, done.exception)
        assert done.stdout == ""
        assert r"\xff" in done.stderr
        assert "is not UTF-8 (byte 0xff)" in done.stderr
        done.stderr.encode("utf-8")
    assert {path.name for path in folder.iterdir()} == {"p"}


@pytest.mark.parametrize("content", ["[" * 100_000, "null", '{"tokenizer_class": 3}'])
def test_a_tokenizer_that_a_package_cannot_have_is_one_message(
    packed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """Its files are as its manifest lists them, which anybody can write."""
    monkeypatch.setattr("nasc.pipelines.evaluate.check_unchanged", lambda *_: None)
    folder = Path(shutil.copytree(packed["int8", "classify-2"], tmp_path / "p"))
    (folder / "tokenizer_config.json").write_text(content, encoding="utf-8")
    (tmp_path / "dev.csv").write_text(DATA["sst-2"], encoding="utf-8")
    with pytest.raises(PackageError, match=r"the tokenizer of .* cannot be read: .*nasc verify"):
        evaluate(folder, "sst-2", tmp_path / "dev.csv")


WORDS = "the cat sat mat dog sun house big small ran slept on".split()


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    lines = [" ".join(rng.choice(WORDS, 6)) for _ in range(20)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_package_finds_paragraphs(
    packed: Any, questions: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped file runs; questions of a paragraph's own words find it more often than not."""
    package = packed[precision, "embed"]
    arguments = ["evaluate", str(package), "--task", "retrieval", "--data", str(questions)]
    done = CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["queries"], found["documents"], found["package"]) == (28, 14, str(package))
    assert 0.4 < found["mrr_at_10"] <= 1
    assert set(found["intervals"]) == {"mrr_at_10", "recall_at_1", "recall_at_10"}
    for name, (low, high) in found["intervals"].items():
        assert low <= found[name] <= high
    some = evaluate(package, "retrieval", questions, queries=Queries(5, seed=2))
    assert (some.examples, some.documents) == (5, 14)
    told = dict(some.rows())
    assert " to " in told["mrr_at_10"]

    # What breaks the vectors is seen: the same with each paragraph in another's place.
    from nasc.tasks import retrieval

    right = retrieval.places
    turned = np.roll(np.arange(14), 1)
    monkeypatch.setattr(retrieval, "places", lambda q, p, wanted: right(q, p[turned], wanted))
    broken = evaluate(package, "retrieval", questions)
    assert broken.scores["mrr_at_10"] < 0.4 < found["mrr_at_10"]


def test_a_teacher_finds_paragraphs_and_ranks_as_itself(
    teacher_folder: Callable[..., Path], questions: Path, texts: Path
) -> None:
    folder = teacher_folder()
    found = evaluate(folder, "retrieval", questions)
    assert found.scored == "teacher"
    assert found.scores["recall_at_10"] > 0.5
    itself = evaluate(folder, "ranking", texts, queries=Queries(7))
    assert itself.scores == {"ndcg_at_10": pytest.approx(1, abs=1e-3)}
    assert itself.to_dict()["teacher"] == str(folder)
    assert (itself.examples, itself.documents) == (7, 19)
    other = teacher_folder("distilbert")
    assert (
        evaluate(folder, "ranking", texts, queries=Queries(teacher=other)).scores != itself.scores
    )


def test_prompts_stand_before_questions_and_paragraphs(
    teacher_folder: Callable[..., Path],
    questions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(shutil.copytree(teacher_folder(), tmp_path / "t"))
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    kind = "sentence_transformers.models."
    rows = [{"name": name, "path": path, "type": kind + name} for path, name in modules]
    (folder / "modules.json").write_text(json.dumps(rows))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"word_embedding_dimension": 32}')
    prompts = {"query": "the cat ran to ", "passage": "the dog sat on "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    seen: list[str] = []
    encode = Encoder.encode

    def noted(self: Encoder, sentences: list[str], *more: Any) -> Any:
        seen.extend(sentences)
        return encode(self, sentences, *more)

    monkeypatch.setattr(Encoder, "encode", noted)
    evaluate(folder, "retrieval", questions)
    assert sorted({text[:15] for text in seen}) == sorted(prompts.values())


@pytest.fixture
def following(
    tmp_path: Path,
    tokenizer: BertTokenizer,
    make_model: Callable[..., Path],
    make_manifest: Callable[..., Any],
) -> Callable[..., Path]:
    """Builds the package of a network of random weights that states a teacher's folder as its."""

    def make(teacher: Path, name: str = "p", **changes: Any) -> Path:
        loaded = load_teacher(teacher)
        record = TeacherRecord(loaded.name, loaded.sha256, "/nowhere/that/is/opened")
        model = make_model()
        manifest = make_manifest(model, teacher=record, max_length=40, **changes)
        return build_package(tmp_path / name, model=model, tokenizer=tokenizer, manifest=manifest)

    return make


def test_a_package_is_ranked_against_its_own_teacher(
    following: Callable[..., Path], teacher_folder: Callable[..., Path], texts: Path
) -> None:
    folder = teacher_folder(hidden=64)
    package = following(folder)
    found = evaluate(package, "ranking", texts, queries=Queries(teacher=folder))
    assert 0 < found.scores["ndcg_at_10"] < 0.99
    assert (found.scored, found.examples, found.documents) == ("vectors", 20, 19)
    assert found.against_teacher == {}
    with pytest.raises(UsageError, match=r"follows the teacher .* name its folder: --teacher DIR"):
        evaluate(package, "ranking", texts)
    other = teacher_folder("distilbert")
    for task in ("ranking", "retrieval", "sts-b"):
        with pytest.raises(UsageError, match="Name the folder of its own"):
            evaluate(package, task, texts, queries=Queries(teacher=other))


def test_a_package_stands_beside_its_teacher(
    following: Callable[..., Path], teacher_folder: Callable[..., Path], questions: Path
) -> None:
    folder = teacher_folder(hidden=64)
    asked = Queries(teacher=folder)
    # Question by question, not figure by figure: with itself it differs by nothing.
    itself = evaluate(folder, "retrieval", questions, queries=asked)
    for one in itself.against_teacher.values():
        assert (one.gain, one.interval, one.share) == (0, (0, 0), 1)

    found = evaluate(following(folder), "retrieval", questions, queries=asked)
    assert found.scores != itself.scores
    assert list(found.against_teacher) == list(found.scores)
    for name, one in found.against_teacher.items():
        score, wanted = found.scores[name], itself.scores[name]
        assert one.teacher == pytest.approx(wanted)
        assert one.gain == pytest.approx(score - wanted)
        assert one.share == pytest.approx(score / wanted)
        assert one.interval is not None
        assert one.interval[0] <= one.gain <= one.interval[1]
    beside = f"; teacher {itself.scores['mrr_at_10']:.4f}, gain "
    assert beside in dict(found.rows())["mrr_at_10"]

    # Of networks for queries the teacher embeds the paragraphs of both.
    package = following(folder, "queries", query_only=True)
    for_queries = evaluate(package, "retrieval", questions, queries=asked)
    teachers = [each.against_teacher["mrr_at_10"].teacher for each in (found, for_queries)]
    assert teachers[0] == teachers[1]
    assert for_queries.scores != found.scores


def test_similarities_stand_beside_those_of_the_teacher(
    following: Callable[..., Path], teacher_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, data = teacher_folder(hidden=64), tmp_path / "dev.csv"
    data.write_text(DATA["sts-b"], encoding="utf-8")
    package = following(folder)
    found = evaluate(package, "sts-b", data, queries=Queries(teacher=folder))
    one = found.against_teacher["spearman"]
    wanted = evaluate_sts(load_teacher(folder).vectors, read_sts(data))
    assert one.teacher == pytest.approx(wanted)
    assert found.scores["spearman"] == pytest.approx(one.teacher + one.gain)
    assert "interval" not in found.to_dict()["against_teacher"]["spearman"]
    assert dict(found.rows())["spearman"] == f"{found.scores['spearman']:.4f}; {one}"


def test_no_share_of_nothing_is_stated() -> None:
    assert AgainstTeacher(0.0, 0.5).share is None
    assert str(AgainstTeacher(-0.5, 0.25)) == "teacher -0.5000, gain 0.2500"
    assert str(AgainstTeacher(0.8, -0.2, (-0.3, -0.1))) == (
        "teacher 0.8000, gain -0.2000 (-0.3000 to -0.1000), 75.0% of it"
    )


@pytest.mark.parametrize("head", ["embed-unscaled", "hidden-unscaled"])
def test_a_package_of_states_is_ranked_against_its_teacher_without_its_head(
    tmp_path: Path,
    tokenizer: BertTokenizer,
    make_model: Callable[..., Path],
    make_manifest: Callable[..., Any],
    teacher_folder: Callable[..., Path],
    texts: Path,
    head: str,
) -> None:
    """Not against its scores, be they of a text or of each token."""
    for kind in ("SequenceClassification", "TokenClassification"):
        folder = tmp_path / kind
        source = teacher_folder(hidden=64)
        getattr(transformers, f"AutoModelFor{kind}").from_pretrained(source).save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
        teacher = load_teacher(folder)
        assert teacher.output != "embed"
        record = TeacherRecord(teacher.name, teacher.sha256, "x")
        model = make_model(head=head)
        package = build_package(
            tmp_path / f"{kind}-package",
            model=model,
            tokenizer=tokenizer,
            manifest=make_manifest(model, head=head, teacher=record, max_length=40),
        )
        manifest = read_manifest(package)
        assert (
            teacher_of(manifest, folder).fingerprint == load_teacher(folder, bare=True).fingerprint
        )
        found = evaluate(package, "ranking", texts, queries=Queries(teacher=folder))
        assert 0 < found.scores["ndcg_at_10"] < 0.99
        other = dataclasses.replace(manifest, head="embed-dense24tanh-unscaled")
        with pytest.raises(UsageError, match=r"gives vectors of 24 numbers, the teacher .* of 64"):
            teacher_of(other, folder)


def test_what_does_not_go_together_is_one_message(
    packed: Any, tmp_path: Path, questions: Path, teacher_folder: Callable[..., Path]
) -> None:
    plain = teacher_folder()
    package, does = packed["fp32", "embed"], packed["int8", "classify-2"]
    for folder, task, queries, error, message in (
        (package, "sts-b", Queries(3), UsageError, "--queries goes with --task retrieval or rank"),
        (package, "mrpc", Queries(teacher="x"), UsageError, "--teacher goes with --task sts-b, re"),
        (does, "sts-b", Queries(teacher="x"), UsageError, "--teacher goes with vectors, of a pack"),
        (package, "mrpc", None, UsageError, "on sts-b, retrieval, ranking, not on 'mrpc'"),
        (does, "retrieval", None, UsageError, "does sst-2, not retrieval"),
        (plain, "sts-b", Queries(teacher=plain), UsageError, "sts-b takes packages, .* fine-tuned"),
        (Path(DEFAULT_TEACHER), "sts-b", None, UsageError, "sts-b takes packages, .* no package"),
        (tmp_path / "none", "retrieval", None, PackageError, "no package and no model in"),
    ):
        with pytest.raises(error, match=message):
            evaluate(folder, task, questions, queries=queries)
    with pytest.raises(UsageError, match="--queries must be at least 1, got 0"):
        Queries(0)
    with pytest.raises(UsageError, match="a seed must be in"):
        Queries(seed=-1)
