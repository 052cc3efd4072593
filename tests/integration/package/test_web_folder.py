"""Packages for the web: what is checked without a browser, and what node finds."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from resealed import reseal
from tokenizers import pre_tokenizers
from transformers import BertTokenizer

from nasc.data.prompts import Prompts
from nasc.errors import PackageError
from nasc.package import installed, web_program
from nasc.package.formats import web_folder
from nasc.package.hashes import record_file
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import read_manifest
from nasc.package.verify import verify_package
from nasc.pipelines import app_format

pytestmark = pytest.mark.usefixtures("shared_process")

needs_node = pytest.mark.skipif(
    web_program.node() is None, reason="needs node 20 or newer (nodejs)"
)

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def build_web(build_app: Make) -> Make:
    """Writes a package of a head and a precision, and gives its folder."""
    return functools.partial(build_app, "web")


@pytest.fixture(scope="module")
def packed(build_web: Make) -> Path:
    """A package; tests must not change it."""
    return build_web()


@pytest.fixture
def package(packed: Path, tmp_path: Path) -> Path:
    """A copy of it that may be changed."""
    return Path(shutil.copytree(packed, tmp_path / "package"))


@pytest.fixture(autouse=True)
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(web_program.RUNTIME_VARIABLE, raising=False)


def outcomes(folder: Path) -> dict[str, tuple[bool | None, str]]:
    report = verify_package(folder, measure=False)
    return {check.name: (check.ok, check.detail) for check in report.checks}


def contents(folder: Path) -> dict[str, object]:
    text = (folder / web_folder.CONTENTS).read_text()
    found: dict[str, object] = json.loads(
        text[text.index("freeze(") + len("freeze(") : text.rindex(")")]
    )
    return found


@needs_node
@pytest.mark.slow
def test_it_holds_what_it_says(packed: Path) -> None:
    report = verify_package(packed, measure=False)
    assert report.exit_code == 0, report.to_dict()
    found = {check.name: check.detail for check in report.checks}["JavaScript"]
    assert "the tokens of 2,400 texts" in found


def test_what_a_page_fetches_is_pinned(packed: Path) -> None:
    held = contents(packed)
    for key, name in (("model", "model.onnx"), ("tokenizer", "tokenizer.bin")):
        record = record_file(packed / name)
        assert held[key] == {"name": name, "size": record.size_bytes, "sha256": record.sha256}
    assert (held["dimensions"], held["maxLength"], held["output"]) == (64, 48, "sentence_embedding")
    npm = json.loads((packed / "package.json").read_text())
    assert npm["dependencies"] == {"onnxruntime-web": web_folder.ONNXRUNTIME_WEB}
    assert npm["version"] == f"0.0.0-m{record_file(packed / 'model.onnx').sha256[:12]}"
    exported = [npm["exports"]["."]["default"], npm["exports"]["."]["types"]]
    assert all((packed / name).is_file() for name in [*exported, "model.onnx", "tokenizer.bin"])


def test_the_lock_file_of_ci_has_the_hash_that_packages_state() -> None:
    path = Path(__file__).parents[2] / "integration" / "web" / "package-lock.json"
    entry = json.loads(path.read_text())["packages"]["node_modules/onnxruntime-web"]
    assert entry["version"] == web_folder.ONNXRUNTIME_WEB
    assert entry["integrity"] == web_folder.INTEGRITY


def test_it_promises_no_latency(packed: Path) -> None:
    manifest = read_manifest(packed)
    assert (manifest.conditions.runtime, manifest.limits, manifest.measured) == ("web", {}, None)
    assert "not promised in a browser" in str(manifest.latency_not_stated)
    readme = (packed / "README.md").read_text()
    assert "No latency is promised in a browser" in readme
    assert f"onnxruntime-web@{web_folder.ONNXRUNTIME_WEB}" in readme


def test_two_builds_are_the_same(packed: Path, build_web: Make) -> None:
    other = build_web()
    one, two = (record_file(folder / "manifest.json") for folder in (packed, other))
    assert one == two  # which has the hashes of all that was not measured


def test_node_is_asked_for(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed.shutil, "which", lambda name: None)
    held, why = web_folder.run_more(packed, read_manifest(packed))
    assert (held, why) == (None, "node 20 or newer is not installed")


@pytest.mark.parametrize("name", ["nasc.js", "contents.js", "tokenizer.bin", "model.onnx"])
def test_one_changed_byte_of_any_file_is_found(package: Path, name: str) -> None:
    content = (package / name).read_bytes()
    (package / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    found = outcomes(package)
    assert f"{name} was changed" in found["files"][1]
    assert found["JavaScript"] == (None, found["model"][1])
    assert found["model"][0] is None


CHANGES = {
    "nasc.js": ("graphOptimizationLevel", "graphOptimizationlevel"),
    "contents.js": ('"maxLength": 48', '"maxLength": 47'),
    "package.json": ('"private": true', '"scripts": {"postinstall": "true"}'),
    "tokenizer_golden.jsonl": ("[2, ", "[3, "),
}


@pytest.mark.slow
def test_what_was_hashed_anew_is_found_by_what_it_is(package: Path) -> None:
    for name, (old, new) in CHANGES.items():
        text = (package / name).read_text()
        assert old in text
        (package / name).write_text(text.replace(old, new, 1))
    reseal(package)
    found = outcomes(package)
    beside = found["files beside the model"]
    assert beside[0] is False
    for name in ("nasc.js", "contents.js", "package.json"):
        assert f"{name} is not as nasc writes it" in beside[1]
    assert found["tokenizer's tables"][0] is False
    assert "tokenizer_golden.jsonl is not what" in found["tokenizer's tables"][1]
    assert found["JavaScript"] == (None, "only what passes the checks above is run")


@pytest.mark.slow
def test_another_model_is_found_though_all_hashes_hold(package: Path, make_model: Make) -> None:
    shutil.copyfile(make_model(seed=1), package / "model.onnx")
    manifest = read_manifest(package)
    assert web_folder.wrong_more(package, manifest) == [
        "contents.js is not as nasc writes it",
        "package.json is not as nasc writes it",
    ]
    for name, text in web_folder._texts(package, manifest).items():
        (package / name).write_text(text)
    reseal(package)
    found = outcomes(package)
    assert found["golden vectors"][0] is False
    assert found["JavaScript"][0] is None


@needs_node
def test_javascript_that_gives_other_tokens_fails(package: Path) -> None:
    text = (package / "tokenizer_words.js").read_text()
    (package / "tokenizer_words.js").write_text(
        text.replace("points > to.maxWord", "points >= to.maxWord")
    )
    held, found = web_folder.run_more(package, read_manifest(package))
    assert held is False
    assert "other tokens for 'xxx" in found
    (package / "tokenizer_words.js").write_text("not JavaScript")
    held, found = web_folder.run_more(package, read_manifest(package))
    assert held is False
    assert "SyntaxError" in found


def test_another_release_of_the_runtime_is_refused(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(web_program.RUNTIME_VARIABLE, str(tmp_path))
    with pytest.raises(PackageError, match="there is no package of npm"):
        web_program.runtime_folder()
    (tmp_path / "package.json").write_text('{"name": "onnxruntime-web", "version": "1.29.0"}')
    with pytest.raises(PackageError, match=r"it is onnxruntime-web 1.29.0, not onnxruntime-web 1"):
        web_program.runtime_folder()


@pytest.mark.slow
def test_vectors_behind_layers_have_their_own_length(build_web: Make) -> None:
    """Every call would fail where another one is stated."""
    folder = build_web("fp32", "embed-dense24tanh-first20")
    assert contents(folder)["dimensions"] == 20


def test_the_lines_of_the_readme_have_the_prompt(
    make_model: Make, make_manifest: Callable[..., Manifest]
) -> None:
    made = make_manifest(make_model("fp32", "embed"), "fp32", "embed")
    prompts = Prompts((("query", 'find "it": '),), "query")
    assert '"find \\"it\\": A man' in web_folder.own_usage(
        dataclasses.replace(made, prompts=prompts)
    )


@pytest.mark.parametrize("head", ["hidden", "classify-2", "spans"])
def test_heads_without_a_call_are_refused(build_web: Make, head: str) -> None:
    with pytest.raises(PackageError, match=f"no call yet for the head '{head}'. Leave --format"):
        build_web("fp32" if head != "classify-2" else "int8", head)


class Context:
    """What of a `RunContext` is asked here."""

    max_length = 48

    def __init__(self, tokenizer: object) -> None:
        self.said: list[str] = []
        self.tokenizer = tokenizer
        self.teacher = SimpleNamespace(tokenizer=None)  # packages have that of the context
        self.reporter = SimpleNamespace(say=self.said.append)
        self.say_once = self.said.append


def test_a_tokenizer_without_a_port_is_refused_before_anything_is_searched(
    tokenizer: BertTokenizer,
) -> None:
    app_format.check_app("web", Context(tokenizer), "embed")  # type: ignore[arg-type]
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.Digits()
    with pytest.raises(PackageError, match=r"pre_tokenizer.type = 'Digits' is not ported"):
        app_format.check_app("web", Context(other), "embed")  # type: ignore[arg-type]
    for head in ("spans", "scores-cls-dense64tanh-dense2identity-unscaled"):
        with pytest.raises(PackageError, match=f"no call yet for the head '{head}'"):
            app_format.check_app("web", Context(tokenizer), head)  # type: ignore[arg-type]


@pytest.mark.parametrize("held", [False, None])
def test_what_node_finds_decides(
    make_model: Make,
    make_manifest: Callable[..., Manifest],
    tokenizer: BertTokenizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    held: bool | None,
) -> None:
    model, context, output = make_model(), Context(tokenizer), tmp_path / "package-web"
    monkeypatch.setattr(web_folder, "run_more", lambda folder, manifest: (held, "seen"))
    arguments = (context, output, model, make_manifest(model), False)
    if held is None:
        app_format.write_app("web", *arguments)  # type: ignore[arg-type]
        assert context.said == ["the package for web was not run: seen"]
        assert output.is_dir()
        return
    with pytest.raises(
        PackageError, match=r"JavaScript .* does not hold: seen\. It is not written: please"
    ):
        app_format.write_app("web", *arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the JavaScript as a package has it, with contents that are made up."""
    folder = tmp_path_factory.mktemp("javascript")
    for name in (*web_folder.COPIED, web_folder.NPM):
        shutil.copyfile(web_folder.SOURCES / name, folder / name)
    (folder / web_folder.CONTENTS).write_text("export const CONTENTS = {};\n")
    return folder


@needs_node
def test_files_are_fetched_checked_and_taken_up_again(server: Path) -> None:
    """The cases are in fetching.mjs: broken connections, wrong bytes, servers without Range."""
    script = Path(__file__).with_name("fetching.mjs")
    done = subprocess.run(
        ["node", "--test", "--test-reporter=tap", str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "NASC_WEB_FOLDER": str(server)},
    )
    assert done.returncode == 0, done.stdout[-4000:]
