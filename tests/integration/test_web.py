"""From a tiny teacher to an npm package whose vectors are Python's, in real browsers."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import browser, opened
from click.testing import CliRunner, Result
from web_server import serve

from nasc.cli import main
from nasc.package.formats import android_folder, ios_folder
from nasc.package.formats.web_folder import COPIED, ONNXRUNTIME_WEB
from nasc.package.golden import Golden
from nasc.package.kotlin_program import COMPILER_VARIABLE
from nasc.package.read_manifest import read_manifest
from nasc.package.web_program import RUNTIME_VARIABLE, node, runtime_folder

pytestmark = [pytest.mark.web, pytest.mark.slow]

PAGE_TIMEOUT_S = 120.0
INSTALL = f"npm install onnxruntime-web@{ONNXRUNTIME_WEB}, and name its folder: {RUNTIME_VARIABLE}"


def nasc(*arguments: object) -> Result:
    runner = CliRunner(env={COMPILER_VARIABLE: ""})  # takes long, and is run by unit tests
    return runner.invoke(main, list(map(str, arguments)), catch_exceptions=False)


C = all(importlib.util.find_spec(name) for name in ("tvm", "ziglang")) and shutil.which("cc")
BESIDE = ("android", "ios", "web", *(["c"] if C else []))
"""What is written beside the package; C where it can be compiled."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, write_inputs: Callable[..., Path]) -> Path:
    """A package for onnxruntime; those of all other formats are beside it."""
    folder = tmp_path_factory.mktemp("work")
    teacher = write_inputs(folder, [16, 32])
    package = folder / "package"
    done = nasc(
        *("compile", "--format", ",".join(["onnx", *BESIDE])),
        *("--size-bytes", "100MB", "--precision", "fp32"),
        *("--train-steps", 3, "--distill-steps", 3, "--seq-len", 12, "--teacher", teacher),
        *("--space", folder / "toy.toml", "--corpus", folder / "text.txt"),
        *("--cache", folder / "cache", "--output", package, "--json"),
    )
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["folders"] == {name: str(folder / f"package-{name}") for name in BESIDE}
    assert told["measured"]["latency_ms"] > 0
    for why in told["latency_not_stated"].values():
        assert why.endswith("measured was this network by onnxruntime, in the package beside")
    return Path(package)


def web_of(package: Path) -> Path:
    return package.with_name("package-web")


def test_it_is_the_model_that_was_measured(package: Path) -> None:
    folder, beside = read_manifest(web_of(package)), read_manifest(package)
    assert (folder.conditions.runtime, beside.conditions.runtime) == ("web", "onnxruntime")
    assert folder.files["model.onnx"] == beside.files["model.onnx"]
    assert (folder.measured, folder.limits) == (None, {})
    assert beside.measured is not None
    for name, model in (("android", android_folder.MODEL), ("ios", ios_folder.MODEL)):
        app = read_manifest(package.with_name(f"package-{name}"))
        assert app.conditions.runtime == name
        assert app.files[model] == beside.files["model.onnx"]


@pytest.mark.parametrize("name", BESIDE)
def test_each_folder_verifies_and_states_no_latency(package: Path, name: str) -> None:
    """Nothing is promised, so that there is nothing to measure; programs run where they can."""
    folder = package.with_name(f"package-{name}")
    done = nasc("verify", folder, "--run-code", "--json")
    found = json.loads(done.stdout)
    assert found["failed"] == []
    missing = {"android": ["Kotlin"], "web": [] if node() else ["JavaScript"]}.get(name, [])
    assert found["not_checked"] == missing
    assert done.exit_code == (3 if missing else 0)
    outcome = {check["name"]: check["detail"] for check in found["checks"]}["latency"]
    assert outcome.startswith("none is stated")
    text = (folder / "README.md").read_text()
    assert "No latency of this folder is stated: none was measured." in text
    assert read_manifest(folder).architecture == read_manifest(package).architecture


@pytest.fixture(scope="session")
def runtime() -> Path:
    """The folder of onnxruntime-web."""
    if not os.environ.get(RUNTIME_VARIABLE):
        pytest.skip(f"needs onnxruntime-web: {INSTALL}")
    found = runtime_folder()
    assert found is not None
    return found


@pytest.mark.skipif(node() is None, reason="needs node 20 or newer (nodejs)")
def test_it_verifies_with_vectors_in_node(package: Path, runtime: Path) -> None:
    done = nasc("verify", web_of(package), "--no-measure", "--json")
    assert done.exit_code == 0, done.output
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert "vectors differ by" in checks["JavaScript"]["detail"]


TYPES = {
    "allowJs": True,
    "checkJs": True,
    "strict": True,
    "noUnusedLocals": True,
    "noUnusedParameters": True,
    "noEmit": True,
    "target": "es2024",
    "module": "nodenext",
    "lib": ["es2024", "dom", "dom.iterable"],
    "types": [],
    "skipLibCheck": True,
}


def type_errors(folder: Path, runtime: Path, files: list[str]) -> str:
    """What TypeScript says of files in a folder, strictly; beside it onnxruntime-web is found."""
    compiler = runtime.with_name("typescript") / "bin" / "tsc"
    if node() is None or not compiler.is_file():
        pytest.skip("needs node and typescript: npm ci in tests/integration/web")
    (folder / "node_modules").mkdir(exist_ok=True)
    for name in ("onnxruntime-web", "onnxruntime-common"):
        shutil.copytree(
            runtime.with_name(name),
            folder / "node_modules" / name,
            ignore=shutil.ignore_patterns("*.wasm", "*.map", "ort*.js", "ort*.mjs"),
            dirs_exist_ok=True,
        )
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": TYPES, "files": files}))
    done = subprocess.run(
        ["node", compiler, "-p", "."], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr if done.returncode else ""


def test_types_hold(package: Path, runtime: Path, tmp_path: Path) -> None:
    """Those in the sources, and those that an app sees."""
    sources = Path(shutil.copytree(web_of(package), tmp_path / "sources"))
    (sources / "nasc.js").rename(sources / "main.js")  # TypeScript takes nasc.d.ts in its place
    assert type_errors(sources, runtime, [name for name in COPIED if name != "nasc.js"]) == ""
    assert type_errors(sources, runtime, ["main.js"]) == ""
    app = tmp_path / "app"
    shutil.copytree(web_of(package), app / "node_modules" / "nasc-encoder")
    shutil.copyfile(Path(__file__).with_name("consumer.ts"), app / "consumer.ts")
    (app / "package.json").write_text('{"type": "module"}')
    assert type_errors(app, runtime, ["consumer.ts"]) == ""


SOFTWARE_GPU = (
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan",
)
"""An adapter of WebGPU that the processor plays."""


def posted(
    name: str, device: str, package: Path, runtime: Path, place: Path, isolated: bool
) -> Any:
    """What the page found; the model's first answer was cut short."""
    tampered = Path(shutil.copytree(package, place / "tampered"))
    model = bytearray((tampered / "model.onnx").read_bytes())
    model[-1] ^= 1
    (tampered / "model.onnx").write_bytes(model)
    page = Path(__file__).with_name("embedding.html").read_text(encoding="utf-8")
    folders = {"package": package, "tampered": tampered, "ort": runtime}
    with serve(folders, {"/": page}, isolated) as served:
        served.cut["/package/model.onnx"] = 1000
        url = f"{served.url}/?device={device}"
        with opened(name, url, place / "profile", SOFTWARE_GPU if device == "webgpu" else ()):
            found = served.posted.get(timeout=PAGE_TIMEOUT_S)
        found["ranges"] = [r for path, r in served.log if path == "/package/model.onnx"]
    return found


@pytest.mark.parametrize(
    ("name", "device", "isolated"),
    [
        ("chromium", "wasm", True),
        ("chromium", "wasm", False),
        ("chromium", "webgpu", True),
        ("firefox", "wasm", True),
    ],
)
def test_vectors_in_a_browser(
    package: Path, runtime: Path, tmp_path: Path, name: str, device: str, isolated: bool
) -> None:
    if browser(name) is None:
        pytest.skip(f"needs {name} (Debian's packages chromium and firefox-esr)")
    found = posted(name, device, web_of(package), runtime, tmp_path, isolated)
    if "no WebGPU adapter" in found.get("failed", ""):
        pytest.skip(f"needs a {name} that plays a GPU by itself (SwiftShader)")
    assert "failed" not in found, found["failed"]
    assert found["isolated"] is isolated
    assert found["threads"] == min(2 if isolated else 1, os.cpu_count() or 1)
    golden = Golden.read(package / "golden.json")
    assert [tuple(ids) for ids in found["tokens"]] == [one.input_ids for one in golden.texts]
    for one, vector in zip(golden.texts, found["vectors"], strict=True):
        np.testing.assert_allclose(vector, one.vector, rtol=0, atol=1e-4)
    first, second = (np.array(one.vector) for one in golden.texts[:2])
    cosine = first @ second / np.sqrt((first @ first) * (second @ second))
    np.testing.assert_allclose(found["similarity"], [1, cosine], rtol=0, atol=1e-4)
    assert found["ranges"][0] is None
    assert found["ranges"][1:] == ["bytes=1000-"]  # then from the cache
    assert (found["fetched"]["cached"], found["again"]["cached"]) == (False, True)
    errors = found["errors"]
    assert errors["surrogate"].startswith("TokenizerError: the text has a lone surrogate")
    assert errors["closed"] == "Error: the encoder is closed: load another one"
    assert "is not the file of this package" in errors["another"]
    assert "the server answered 404" in errors["missing"]
    assert errors["device"].startswith("TypeError: device is")
