"""From a tiny teacher to a package for TVM that is verified, through the command line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nasc.cli import main
from nasc.package.manifest import read_manifest
from nasc.teacher import load_teacher
from profilers.runtimes import installed

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(not installed("tvm")[0], reason="needs tvm (extra 'tvm')"),
]

WORDS = "the a cat dog sat on mat ran to house and slept in sun it was big small".split()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, teacher_folder: Callable[..., Path]) -> Any:
    """What compile is given: a teacher, a space of few networks, text and a cache."""
    folder, teacher = tmp_path_factory.mktemp("work"), teacher_folder()
    g = load_teacher(teacher).geometry
    (folder / "toy.toml").write_text(
        'n_blocks = 2\nslots = 1\nhidden_sizes = [16, 32]\noperations = ["mha", "ffn"]\n'
        f"[geometry]\nlayers = {g.layers}\nhidden = {g.hidden}\nhead_size = {g.head_size}\n"
        f"intermediate = {g.intermediate}\nvocab_size = {g.vocab_size}\n"
        f"max_positions = {g.max_positions}\n",
        encoding="utf-8",
    )
    rng = random.Random(0)
    text = [" ".join(rng.choices(WORDS, k=rng.randint(4, 14))) + "." for _ in range(300)]
    (folder / "text.txt").write_text("\n\n".join(text), encoding="utf-8")
    given = ("--teacher", teacher, "--space", folder / "toy.toml", "--seq-len", 12)
    return folder, (*given, "--corpus", folder / "text.txt", "--cache", folder / "cache")


def nasc(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)


def test_compile_ships_a_package_for_tvm_that_verifies(inputs: Any) -> None:
    folder, given = inputs
    package = folder / "package"
    done = nasc(
        *("compile", "--runtime", "tvm", "--precision", "fp32", "--latency-ms", 1000),
        *("--train-steps", 3, "--distill-steps", 3, "--output", package, "--json", *given),
    )
    assert done.exit_code == 0, done.stderr
    manifest = read_manifest(package)
    assert manifest.conditions.runtime == "tvm"
    assert manifest.peak_memory.measured_bytes is not None
    about = json.loads((package / "model.json").read_text())
    lengths = [function["seq_len"] for function in about["functions"]]
    assert 12 in lengths  # that of the limit, beside those of every package
    assert lengths[-1] >= manifest.max_length
    done = nasc("verify", package, "--no-measure")
    assert done.exit_code == 3
    assert "not checked  golden vectors: model.so is code" in done.stdout
    done = nasc("verify", package, "--no-measure", "--run-code")
    assert done.exit_code == 0, done.output
