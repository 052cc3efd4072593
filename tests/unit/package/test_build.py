"""Building: what a package holds, what is refused, and that nothing is ever lost."""

import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from transformers import AutoConfig, AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from nasc.architecture.heads import (
    gives_scores,
    gives_vector,
    is_own_head,
    is_task_head,
    pooling_of,
)
from nasc.architecture.space import Architecture, Block
from nasc.data.prompts import Prompts
from nasc.errors import PackageError
from nasc.evaluation.encoder import Encoder
from nasc.package import build
from nasc.package.build import build_package, check_target
from nasc.package.golden import TEXTS, Golden, GoldenText
from nasc.package.library_files import wrong_library_files
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import read_manifest
from nasc.package.readme import readme, usage
from nasc.package.records import TaskRecord, TrainingRecord
from nasc.package.replacing import move_in, remove_package, why_kept
from nasc.package.verify import verify_package

TOKENS, ANSWERS = "tokens-dense3identity-unscaled", "answers-dense2identity-unscaled"
PAIRED = "scores-cls-dense64tanh-dense1identity-unscaled"
KINDS = [
    ("fp32", "embed"),
    ("int8", "embed"),
    ("int8-emb4", "embed"),
    ("fp32", "hidden"),
    ("fp32", "embed-cls"),
    ("fp32", "embed-max-unscaled"),
    ("fp32", "hidden-cls"),
    ("fp32", "classify-1"),
    ("int8", "classify-2"),
    ("fp32", "spans"),
    ("fp32", "embed-cls-dense24sigmoid-first10"),
    ("fp32", "scores-cls-dense64tanh-dense2identity-unscaled"),
    ("fp32", PAIRED),
    ("int8", TOKENS),
    ("fp32", ANSWERS),
]

Packages = Mapping[tuple[str, str], Path]
MakeModel = Callable[..., Path]
MakeManifest = Callable[..., Manifest]

FILES = {
    "model.onnx",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "golden.json",
    "manifest.json",
    "measurements.json",
    "MEASURED.md",
    "README.md",
    "SHA256SUMS",
    "config.json",
}
ENCODER_FILES = {
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
}


def snapshot(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file()
    }


def test_a_package_holds_its_files_and_nothing_else(packed: Packages) -> None:
    for (_, head), folder in packed.items():
        assert snapshot(folder).keys() == FILES | (set() if is_scored(head) else ENCODER_FILES)
        for each in (folder, *filter(Path.is_dir, folder.iterdir())):
            assert each.stat().st_mode & 0o777 == 0o755


def test_sentence_transformers_is_told_the_pooling(packed: Packages) -> None:
    """A vector is the state of a text's one token, states are pooled as the teacher's are."""
    for (_, head), folder in packed.items():
        if is_scored(head):
            continue
        config = json.loads((folder / "1_Pooling/config.json").read_text())
        mode = "cls" if gives_vector(head) else pooling_of(head).mode
        on = [key for key, value in config.items() if key.startswith("pooling_") and value]
        assert on == [{"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}[mode]]


def test_the_sums_are_in_the_format_of_sha256sum(packed: Packages) -> None:
    folder = packed["fp32", "embed"]
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK") == len(FILES | ENCODER_FILES) - 1


def is_scored(head: str) -> bool:
    """Whether a package gives scores, for which other libraries have no lines."""
    return is_task_head(head) or is_own_head(head)


def test_size_and_parameters_are_those_of_the_file(packed: Packages) -> None:
    heads = {"spans": 2 * 32 + 2, "classify-1": 2112 + 64 + 1, "classify-2": 2112 + 2 * (64 + 1)}
    heads["embed-cls-dense24sigmoid-first10"] = 2112 + 24 * (64 + 1)
    heads["scores-cls-dense64tanh-dense2identity-unscaled"] = 2112 + 64 * (64 + 1) + 2 * (64 + 1)
    heads[TOKENS] = 2112 + 3 * (64 + 1)
    heads[ANSWERS] = 2112 + 2 * (64 + 1) + 64
    heads[PAIRED] = 2112 + 64 * (64 + 1) + (64 + 1) + 64  # with the second text's type
    for (_, head), folder in packed.items():
        manifest = read_manifest(folder)
        assert manifest.size_bytes == (folder / "model.onnx").stat().st_size
        # embedding, mha 64, sep3 64, border, ffn 32, mha 32, head, counted by hand
        body = 10624 + 16768 + 8960 + 2080 + 8416 + 4288
        assert manifest.params == body + heads.get(head, 2112)


@pytest.mark.parametrize("which", KINDS, ids="-".join)
def test_the_lines_of_the_readme_run(packed: Packages, which: tuple[str, str]) -> None:
    folder = packed[which]
    text = (folder / "README.md").read_text(encoding="utf-8")
    code, *others = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    expected = 1 if which[1] in (PAIRED, TOKENS, ANSWERS) else 0 if is_scored(which[1]) else 2
    assert len(others) == expected  # run in tests/integration
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    forms = {
        "hidden": r"\(2, \d+, 64\)",
        "hidden-cls": r"\(2, \d+, 64\)",
        "classify-1": r"\[\S+\]",
        "classify-2": r"\['[01]', '[01]'\]",
        "scores-cls-dense64tanh-dense2identity-unscaled": r"\['[01]', '[01]'\]",
        "spans": r"[A-Za-z .]+",
        PAIRED: r"\[0\.\d+\]",
        TOKENS: r"(\[(\('[^ ]+', '(O|B-X|I-X)'\)(, )?)+\]\n?){2}",
        ANSWERS: r"[A-Za-z .]+",
    }
    if which[1].endswith("first10"):
        assert re.search(r"lengths|\[\[", done.stdout)
    elif which[1] in forms:
        assert re.fullmatch(forms[which[1]], done.stdout.strip())
    else:
        values = [float(v) for v in re.findall(r"-?\d\.?\d*", done.stdout)]
        assert values[0] == pytest.approx(1, abs=1e-5)
        assert values[1] == pytest.approx(values[2], abs=1e-5)
    imported = set(re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE))
    assert imported == {"numpy", "onnxruntime", "tokenizers"}


@pytest.mark.parametrize(
    "head", ["tokens-dense3identity-unscaled", "scores-cls-dense64tanh-dense3identity-unscaled"]
)
def test_the_lines_of_the_readme_have_labels_as_they_are(
    make_model: Callable[..., Path], make_manifest: Callable[..., Manifest], head: str
) -> None:
    labels = ("RUN", "ALL LABELS", "O")
    name = "token-classification" if head == TOKENS else "classification"
    made = make_manifest(make_model(head=head), head=head, task=TaskRecord(name, labels))
    assert f"\nlabels = {list(labels)!r}\n" in usage(made)
    assert '\nscores = session.run(None, {"input_ids"' in usage(made)


@pytest.mark.parametrize("default", [None, "query"])
def test_the_lines_of_the_readme_put_prompts_before_texts(
    tokenizer: BertTokenizer,
    make_model: Callable[..., Path],
    make_manifest: Callable[..., Manifest],
    tmp_path: Path,
    default: str | None,
) -> None:
    prompts = Prompts((("query", "the cat: "), ("passage", 'the "cat"\n')), default)
    model = make_model("fp32", "embed")
    manifest = make_manifest(model, "fp32", "embed", prompts=prompts)
    folder = build_package(tmp_path / "p", model=model, tokenizer=tokenizer, manifest=manifest)
    assert read_manifest(folder).prompts == prompts
    text = (folder / "README.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    code += (
        "np.save('../vectors.npy', vectors)\nassert list(prompts.values())[1] == 'the \"cat\"\\n'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    encoder = Encoder(folder / "model.onnx", tokenizer, max_length=48)
    texts = ["A man is playing a guitar.", "Someone plays an instrument."]
    wanted = encoder.encode([prompts.before + one for one in texts])
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), wanted, atol=1e-6)
    told = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    assert (told["prompts"], told["default_prompt_name"]) == (dict(prompts.texts), default)
    assert wrong_library_files(folder, read_manifest(folder)) == []
    bare = dataclasses.replace(read_manifest(folder), prompts=Prompts())
    assert wrong_library_files(folder, bare) == ["config_sentence_transformers.json"]


def test_the_readme_names_conditions_and_figures(packed: Packages) -> None:
    text = (packed["int8", "embed"] / "README.md").read_text(encoding="utf-8")
    for part in (
        "batch 1, 16 tokens, 1 thread, tokenisation not included, statistic:",
        "64: M S3 | 32: F M @ int8",
        "| limit: latency_ms | 6 |",
        "| mean cosine of int8 to fp32 | 0.9950 |",
    ):
        assert part in text
    measured = (packed["int8", "embed"] / "MEASURED.md").read_text(encoding="utf-8")
    assert "| latency, predicted (ms) | 5.00 (4.80 to 5.20) |" in measured
    assert "latency, " not in text


def test_the_readme_of_the_untouched_teacher_does_not_speak_of_training(
    make_model: MakeModel, make_manifest: MakeManifest
) -> None:
    made = make_manifest(make_model("int8"), "int8")
    smaller = readme(made)
    assert "A smaller network that follows tiny: `64: M S3 | 32: F M @ int8`." in smaller
    assert "Trained on: no text.\n\nTraining: 0 steps by itself.\n" in smaller
    out_of = TrainingRecord(1200, 14000, "texts", "M F")
    told = readme(dataclasses.replace(made, training=out_of))
    assert (
        "1,200 steps by itself; out of a supernet of 14,000 steps on texts, operations M F" in told
    )
    kept = (Block(64, ("mha", "ffn"), kept=True),) * 2
    whole = readme(dataclasses.replace(made, architecture=Architecture(kept, "int8")))
    assert "The full-size network of tiny in int8: `keep | keep @ int8`." in whole
    assert "Checked on: no text." in whole
    assert "smaller" not in whole
    assert "Train" not in whole


def test_both_libraries_read_the_tokenizer_and_agree_with_golden(packed: Packages) -> None:
    folder = packed["fp32", "embed"]
    golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    texts = [one["text"] for one in golden["texts"]]
    ids = [one["input_ids"] for one in golden["texts"]]
    own = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert [e.ids for e in own.encode_batch(texts)] == ids
    auto = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert auto.model_max_length == 48
    assert auto(texts, truncation=True)["input_ids"] == ids
    assert tuple(texts) == TEXTS
    assert max(map(len, ids)) == 48
    assert ids[texts.index("")] == [2, 3]
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert {word: index for index, word in enumerate(words)} == auto.get_vocab()


@pytest.mark.parametrize("which", KINDS, ids="-".join)
def test_transformers_knows_the_folder(packed: Packages, which: tuple[str, str]) -> None:
    folder = packed[which]
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    size = 10 if which[1].endswith("first10") else 64
    wanted = (size, 64, 0)
    assert (config.hidden_size, config.max_position_embeddings, config.pad_token_id) == wanted
    assert config.nasc_architecture == str(read_manifest(folder).architecture)
    told = getattr(config, "sentence_transformers", {})
    assert told == (
        {"activation_fn": "torch.nn.modules.activation.Sigmoid"} if which[1] == PAIRED else {}
    )
    if which[1] == "classify-2" or (gives_scores(which[1]) and which[1] != PAIRED):
        assert config.id2label == {0: "0", 1: "1"}
    if which[1] in ("classify-1", PAIRED):
        assert (config.num_labels, config.problem_type) == (1, "regression")
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    batch = tokenizer(["the cat", "x"], padding=True, return_tensors="np")
    outputs = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    ).run(None, dict(batch))  # its inputs and no others
    assert len(outputs[0]) == 2


@pytest.mark.parametrize("normalized", [True, False])
def test_a_tokenizer_stays_as_its_file_says_it(
    tmp_path: Path,
    tokenizer: BertTokenizer,
    make_model: MakeModel,
    make_manifest: MakeManifest,
    normalized: bool,
) -> None:
    """Not as BertTokenizer builds it: with digits apart, and perhaps no lower case."""
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    if not normalized:
        backend.normalizer = normalizers.NFC()
    own = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **{k: v for k, v in tokenizer.special_tokens_map.items() if isinstance(v, str)},
    )
    model = make_model()
    folder = build_package(
        tmp_path / "p", model=model, tokenizer=own, manifest=make_manifest(model)
    )
    texts = ["The Cat 2026", "CAT 007 a1b2"]
    read = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert read(texts)["input_ids"] == [e.ids for e in backend.encode_batch(texts)]


def test_no_file_names_a_place_on_this_machine(packed: Packages, tmp_path: Path) -> None:
    for folder in packed.values():
        for path in filter(Path.is_file, folder.rglob("*")):
            data = path.read_bytes()
            assert str(tmp_path.parents[1]).encode() not in data, path.name
            assert str(folder.parent).encode() not in data, path.name


def test_golden_vectors_are_those_of_the_file_alone(packed: Packages) -> None:
    folder = packed["int8", "embed"]
    golden = json.loads((folder / "golden.json").read_text(encoding="utf-8"))
    encoder = Encoder(folder / "model.onnx")
    for one in golden["texts"]:
        vector = encoder.encode_tokens([one["input_ids"]])[0]
        assert np.array_equal(vector, np.array(one["vector"], np.float32))


def build_one(
    out: Path, tokenizer: BertTokenizer, make_model: MakeModel, make: MakeManifest, **more: Any
) -> Path:
    model = make_model(seed=more.pop("seed", 0))
    return build_package(out, model=model, tokenizer=tokenizer, manifest=make(model), **more)


@pytest.mark.slow
def test_an_existing_package_needs_force(
    tmp_path: Path, tokenizer: BertTokenizer, make_model: MakeModel, make_manifest: MakeManifest
) -> None:
    out = build_one(tmp_path / "p", tokenizer, make_model, make_manifest)
    before = snapshot(out)
    with pytest.raises(PackageError, match=r"exists\. Replace it: --force"):
        build_one(out, tokenizer, make_model, make_manifest, seed=1)
    assert snapshot(out) == before
    assert build_one(out, tokenizer, make_model, make_manifest, seed=1, force=True) == out
    assert snapshot(out)["model.onnx"] != before["model.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    assert verify_package(out, measure=False).ok


def test_a_home_folder_is_looked_into_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "stuff").mkdir()
    (tmp_path / "stuff" / "thesis.txt").write_text("ten years of work")
    with pytest.raises(PackageError, match="is no package"):
        check_target(Path("~/stuff"), force=True)


def test_outputs_that_are_no_numbers_differ_from_golden_ones() -> None:
    one = GoldenText("a", (1,), (0.0, 1.0))
    golden = Golden(8, 0.1, (one, one))
    right, wrong = np.array([[0.0, 1.0]]), np.array([[np.nan, 1.0]])
    assert golden.difference([right, right]) == 0
    for rows in ([wrong, right], [right, wrong]):
        assert math.isnan(golden.difference(rows))


def test_what_is_no_package_is_never_replaced(
    tmp_path: Path, tokenizer: BertTokenizer, make_model: MakeModel, make_manifest: MakeManifest
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("ten years of work")
    (tmp_path / "file").write_text("x")
    for name in ("home", "file"):
        with pytest.raises(PackageError, match=r"is no package: it is never replaced"):
            build_one(tmp_path / name, tokenizer, make_model, make_manifest, force=True)
    assert (home / "thesis.txt").read_text() == "ten years of work"


@pytest.mark.slow
def test_an_empty_folder_is_filled(
    tmp_path: Path, tokenizer: BertTokenizer, make_model: MakeModel, make_manifest: MakeManifest
) -> None:
    (tmp_path / "p").mkdir()
    build_one(tmp_path / "p", tokenizer, make_model, make_manifest)
    assert verify_package(tmp_path / "p", measure=False).ok


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("step", ["write_tokenizer", "readme", "write_manifest", "move_in"])
def test_a_disk_that_fills_loses_nothing(
    tmp_path: Path,
    tokenizer: BertTokenizer,
    make_model: MakeModel,
    make_manifest: MakeManifest,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    force: bool,
) -> None:
    out = tmp_path / "p"
    if force:
        build_one(out, tokenizer, make_model, make_manifest)
    before = snapshot(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, step, full)
    with pytest.raises(PackageError, match=r"cannot write.*No space left on device.*--output"):
        build_one(out, tokenizer, make_model, make_manifest, seed=1, force=force)
    assert snapshot(tmp_path) == before
    assert out.exists() == force


def test_a_rename_that_fails_brings_the_old_package_back(
    tmp_path: Path,
    tokenizer: BertTokenizer,
    make_model: MakeModel,
    make_manifest: MakeManifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = build_one(tmp_path / "p", tokenizer, make_model, make_manifest)
    before = snapshot(tmp_path)
    rename = Path.rename

    def fail_for_parts(self: Path, target: Path) -> Path:
        if target.name == "p" and self.name == "content":
            raise OSError(30, "Read-only file system")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_parts)
    with pytest.raises(PackageError, match="Read-only file system"):
        build_one(out, tokenizer, make_model, make_manifest, seed=1, force=True)
    assert snapshot(tmp_path) == before


def test_a_run_killed_between_the_renames_is_made_good(
    tmp_path: Path, tokenizer: BertTokenizer, make_model: MakeModel, make_manifest: MakeManifest
) -> None:
    out = build_one(tmp_path / "p", tokenizer, make_model, make_manifest)
    before = snapshot(out)
    out.rename(tmp_path / ".p.replaced")  # killed here
    with pytest.raises(PackageError, match="--force"):
        build_one(out, tokenizer, make_model, make_manifest)
    assert snapshot(out) == before
    build_one(out, tokenizer, make_model, make_manifest, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_a_parent_that_is_a_file_is_one_message(
    tmp_path: Path, tokenizer: BertTokenizer, make_model: MakeModel, make_manifest: MakeManifest
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PackageError, match="cannot write the package"):
        build_one(tmp_path / "file" / "p", tokenizer, make_model, make_manifest)


def test_a_manifest_of_another_model_is_refused(
    tmp_path: Path, tokenizer: BertTokenizer, make_model: MakeModel, make_manifest: MakeManifest
) -> None:
    model, other = make_model(), make_model(seed=1)
    common: dict[str, Any] = {"tokenizer": tokenizer}
    for manifest, file, message in (
        (make_manifest(other), model, "the measurement is of another file"),
        (make_manifest(model, "int8"), model, "architecture: '.*fp32' in the file, '.*int8' in"),
        (make_manifest(model, head="hidden"), model, "head: 'embed' in the file, 'hidden' in"),
        (make_manifest(model), b"not a model", "no valid ONNX file"),
    ):
        with pytest.raises(PackageError, match=message):
            build_package(tmp_path / "p", model=file, manifest=manifest, **common)
    assert list(tmp_path.iterdir()) == []


def test_bytes_do_as_well_as_a_path(
    tmp_path: Path, tokenizer: BertTokenizer, make_model: MakeModel, make_manifest: MakeManifest
) -> None:
    model = make_model()
    out = build_package(
        tmp_path / "deep" / "er",
        model=model.read_bytes(),
        tokenizer=tokenizer,
        manifest=make_manifest(model),
    )
    assert (out / "model.onnx").read_bytes() == model.read_bytes()


def add_a_note(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def add_a_repository(folder: Path) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref: main")


def add_an_empty_folder(folder: Path) -> None:
    (folder / "src").mkdir()


def edit_the_readme(folder: Path) -> None:
    (folder / "README.md").write_text("mine")


def edit_the_manifest(folder: Path) -> None:
    raw = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(raw | {"mine": 1}))


def edit_the_measurements(folder: Path) -> None:
    raw = json.loads((folder / "measurements.json").read_text())
    (folder / "measurements.json").write_text(json.dumps(raw | {"mine": 1}))


def take_other_measurements(folder: Path) -> None:
    (folder / "measurements.json").write_text('{"of": "my garden"}')


def damage_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("[" * 100_000)


def take_the_manifest_of_an_app(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"name": "app"}')


def link_a_file(folder: Path) -> None:
    (folder / "golden.json").rename(folder.parent / "elsewhere.json")
    (folder / "golden.json").symlink_to(folder.parent / "elsewhere.json")


def put_a_pipe(folder: Path) -> None:
    (folder / "vocab.txt").unlink()
    os.mkfifo(folder / "vocab.txt")


CHANGES = [
    (add_a_note, r"nasc did not write '\S+/p/notes\.txt'"),
    (add_a_repository, r"nasc did not write the folder '\S+/p/\.git'"),
    (add_an_empty_folder, r"nasc did not write the folder '\S+/p/src'"),
    (edit_the_readme, r"'\S+/p/README\.md' was changed since nasc wrote it"),
    (
        edit_the_manifest,
        r"'\S+/p/manifest\.json' or '\S+/measurements\.json' or '\S+/p/SHA256SUMS' was",
    ),
    (
        edit_the_measurements,
        r"'\S+/p/manifest\.json' or '\S+/measurements\.json' or '\S+/p/SHA256SUMS'",
    ),
    (
        take_other_measurements,
        r"'\S+/p/measurements\.json' is not of the format nasc\.measurements",
    ),
    (damage_the_manifest, r"'\S+/p/manifest\.json' is nested too deeply"),
    (take_the_manifest_of_an_app, r"'\S+/p/manifest\.json' is not of the format nasc\.package"),
    (link_a_file, r"'\S+/p/golden\.json' is a link"),
    (put_a_pipe, r"'\S+/p/vocab\.txt' was changed since nasc wrote it"),
]
BY_NAME = [change.__name__ for change, _ in CHANGES]


@pytest.fixture
def copied(packed: Packages, tmp_path: Path) -> Path:
    """A package of the test's own."""
    return Path(shutil.copytree(packed["fp32", "embed"], tmp_path / "p"))


@pytest.mark.parametrize(("change", "reason"), CHANGES, ids=BY_NAME)
@pytest.mark.parametrize("when", ["before", "meanwhile", "killed"])
def test_what_a_user_changed_or_added_is_never_replaced(
    copied: Path, tmp_path: Path, change: Callable[[Path], None], reason: str, when: str
) -> None:
    part = tmp_path / "new"
    part.mkdir()
    if when == "before":
        change(copied)
        before = snapshot(copied)
        with pytest.raises(PackageError, match=rf"never replaced \({reason}.*--output DIR"):
            check_target(copied, force=True)
    elif when == "meanwhile":
        check_target(copied, force=True)
        change(copied)
        before = snapshot(copied)
        with pytest.raises(PackageError, match=rf"was changed while.*{reason}.*It is as it was"):
            move_in(part, copied)
    else:  # between the two renames, by a run that had just looked at it
        change(copied)
        before = snapshot(copied)
        copied.rename(tmp_path / ".p.replaced")
        copied.mkdir()
        with pytest.raises(PackageError, match=r"\.p\.replaced' lies where.*Move it away"):
            check_target(copied, force=True)
        copied.rmdir()
        (tmp_path / ".p.replaced").rename(copied)
    assert snapshot(copied) == before
    assert part.is_dir()


def test_what_comes_while_the_old_package_is_removed_stays(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, unlink = tmp_path / "new", Path.unlink
    part.mkdir()

    def unlink_late(self: Path, missing_ok: bool = False) -> None:
        add_a_note(tmp_path / ".p.replaced")
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_late)
    said: list[str] = []
    move_in(part, copied, said.append)
    assert [p.name for p in (tmp_path / ".p.replaced").iterdir()] == ["notes.txt"]
    assert len(said) == 1
    assert re.search(r"lies in '\S+/\.p\.replaced'\. Move your own files out", said[0])
    monkeypatch.undo()
    with pytest.raises(PackageError, match=r"\.p\.replaced' lies where .*Move it away"):
        check_target(copied, force=True)
    assert (tmp_path / ".p.replaced" / "notes.txt").read_text() == "mine"


def test_a_removal_that_was_killed_is_ended_by_the_next_run(copied: Path, tmp_path: Path) -> None:
    spare = Path(shutil.copytree(copied, tmp_path / ".p.replaced"))
    for name in ("SHA256SUMS", "model.onnx"):
        (spare / name).unlink()
    with pytest.raises(PackageError, match="--force"):
        check_target(copied, force=False)
    assert not spare.exists()


def test_half_a_package_is_not_brought_back(copied: Path, tmp_path: Path) -> None:
    """A run was killed while it removed it, and the new one was taken away."""
    spare = copied.rename(tmp_path / ".p.replaced")
    for name in ("SHA256SUMS", "model.onnx"):
        (spare / name).unlink()
    check_target(copied, force=False)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_lacked_a_file_before_is_brought_back(copied: Path, tmp_path: Path) -> None:
    (copied / "vocab.txt").unlink()
    copied.rename(tmp_path / ".p.replaced")
    with pytest.raises(PackageError, match="--force"):
        check_target(copied, force=False)
    assert (copied / "model.onnx").exists()


def test_folders_within_folders_are_no_recursion(copied: Path, tmp_path: Path) -> None:
    deep = copied
    for _ in range(1000):
        deep = deep / "d"
        deep.mkdir()
    (copied / "vocab.txt").rename(deep / "vocab.txt")
    raw = json.loads((copied / "manifest.json").read_text())
    name = (deep / "vocab.txt").relative_to(copied).as_posix()
    raw["files"][name] = raw["files"].pop("vocab.txt")
    (copied / "manifest.json").write_text(json.dumps(raw))
    (copied / "SHA256SUMS").unlink()
    assert why_kept(copied) is None
    remove_package(copied)
    assert list(tmp_path.iterdir()) == []


def test_files_in_folders_of_a_package_are_its_own_where_the_manifest_lists_them(
    copied: Path, tmp_path: Path
) -> None:
    raw = json.loads((copied / "manifest.json").read_text())
    (copied / "2_More").mkdir()
    (copied / "vocab.txt").rename(copied / "2_More" / "vocab.txt")
    raw["files"]["2_More/vocab.txt"] = raw["files"].pop("vocab.txt")
    (copied / "manifest.json").write_text(json.dumps(raw))
    (copied / "SHA256SUMS").unlink()
    assert why_kept(copied) is None
    part = tmp_path / "new"
    part.mkdir()
    move_in(part, copied)
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


@pytest.mark.slow
def test_a_build_that_was_killed_leaves_nothing_for_the_run_after_the_next(
    tmp_path: Path, tokenizer: BertTokenizer, make_model: MakeModel, make_manifest: MakeManifest
) -> None:
    code = (
        "import os, signal, sys; from nasc.package import build\n"
        "build._fill = lambda part, *rest: ((part / 'model.onnx').write_bytes(b'half'),"
        " os.kill(os.getpid(), signal.SIGKILL))\n"
        "build.build_package(sys.argv[1], model=b'', tokenizer=None, manifest=None)"
    )
    out = tmp_path / "p"
    done = subprocess.run([sys.executable, "-c", code, str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [p.name.rpartition(".")[2] for p in tmp_path.iterdir()] == ["part"]
    build_one(out, tokenizer, make_model, make_manifest)
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


@pytest.mark.parametrize("name", ["/", "/dev", "..", "x" * 250])
def test_places_where_no_package_can_lie_are_one_message(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PackageError, match=r"--output \S+"):
        check_target(Path(name), force=True)


@pytest.mark.parametrize("force", [False, True])
def test_the_folder_somebody_is_in_is_not_taken_away_from_under_them(
    copied: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    (copied.parent / "empty").mkdir()
    for folder in (copied.parent / "empty", copied, copied / "1_Pooling"):
        monkeypatch.chdir(folder)
        output = folder if folder.name != "1_Pooling" else copied
        for path in (output, Path("." if output == folder else "..")):
            with pytest.raises(PackageError, match=rf"folder you are in.*--output {output}/\w+"):
                check_target(path, force)
    check_target(Path("new"), force)


@pytest.mark.parametrize("force", [False, True])
def test_a_link_is_named_as_such(copied: Path, tmp_path: Path, force: bool) -> None:
    (tmp_path / "link").symlink_to(copied)
    with pytest.raises(PackageError, match=rf"link' is a link, .*--output {copied}$"):
        check_target(tmp_path / "link", force)


def test_a_package_is_as_private_as_its_folder_was_or_as_new_folders_are(
    tmp_path: Path, tokenizer: BertTokenizer, make_model: MakeModel, make_manifest: MakeManifest
) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    before = os.umask(0o027)
    try:
        for name, mode in (("private", 0o700), ("new", 0o750)):
            out = build_one(tmp_path / name, tokenizer, make_model, make_manifest)
            assert out.stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)
