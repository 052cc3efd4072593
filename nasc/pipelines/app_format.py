"""What `nasc compile --format web,android,ios` writes: the model that was measured, for apps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from device_profiles.temporary import temporary_folder
from nasc.context.context import RunContext
from nasc.errors import PackageError
from nasc.evaluation.encoder import BATCH_SIZE, Encoder, open_here
from nasc.lowering import Artifact
from nasc.package.build import TOKENIZER, build_package
from nasc.package.formats import android_folder, ios_folder, onnx_folder, web_folder
from nasc.package.formats.app_contents import check_vectors
from nasc.package.manifest import Conditions, Manifest, PeakMemory
from nasc.package.tokenizer_binary import compile_tokenizer
from nasc.package.tokenizer_files import write_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RUNTIME = "onnxruntime"
"""What the package beside it is for, whose model it takes."""

APP_FORMATS: dict[str, ModuleType] = {
    "web": web_folder,
    "android": android_folder,
    "ios": ios_folder,
}
"""The formats, by name."""


def check_app(name: str, context: RunContext, head: str) -> None:
    """Raise before anything is searched where no package for an app can be made.

    Args:
        name: Of the format.
        context: Of the run.
        head: That the network will have.

    Raises:
        PackageError: If the tokenizer does what its port does not, or there is no call for the
            head.
    """
    check_vectors(name, head)
    with temporary_folder() as folder:
        write_tokenizer(folder, context.tokenizer, context.max_length)
        compile_tokenizer(Tokenizer.from_file(str(folder / TOKENIZER)))


def write_app(
    name: str,
    context: RunContext,
    output: Path,
    package: Path,
    manifest: Manifest,
    force: bool,
    sign: Path | None = None,
) -> Path:
    """Write the package for an app beside one for onnxruntime.

    Args:
        name: Of the format.
        context: Of the run.
        output: The folder.
        package: Of the same network, for onnxruntime, written a moment ago.
        manifest: What `nasc.package.build.build_package` was given for it.
        force: Replace the folder that is there.
        sign: Private key that it is signed with.

    Returns:
        The folder, as an absolute path.

    Raises:
        PackageError: If its programs give other tokens or vectors than Python; nothing of it is
            written.
    """
    form, own = APP_FORMATS[name], app_manifest(name, manifest)

    def run(folder: Path) -> None:
        if not form.PROGRAMS:
            return
        held, found = form.run_more(folder, own)
        if held is False:
            raise PackageError(
                f"the package for {name} does not hold in {form.RUN_IN}: {found}. The package for "
                f"{RUNTIME} is written, that for {name} is not: please report this, with both"
            )
        context.say_once(
            f"the package for {name} was not run: {found}"
            if held is None
            else f"the package for {name}, run in {form.RUN_IN}: {found}"
        )

    return build_package(
        output,
        model=package / onnx_folder.MODEL,
        tokenizer=context.tokenizer,
        manifest=own,
        force=force,
        say=context.reporter.say,
        open_encoder=open_app,
        check=run,
        sign=sign,
    )


def app_manifest(name: str, manifest: Manifest) -> Manifest:
    """What the folder says of itself: nothing of a latency or of limits, which no app keeps.

    Args:
        name: Of the format.
        manifest: Of the package for onnxruntime. Its parity and quality are those of the same file.
    """
    said = manifest.conditions
    return dataclasses.replace(
        manifest,
        limits={},
        conditions=Conditions(
            said.device,
            name,
            said.batch,
            said.seq_len,
            said.threads,
            said.statistic,
            fixed_shape=said.fixed_shape,
        ),
        predicted=None,
        latency_table=APP_FORMATS[name].NOT_PROMISED,
        estimate=None,
        measured=None,
        tokenisation_ms=None,
        peak_memory=PeakMemory(),
        attempts=(),
        evidence={},
    )


@contextlib.contextmanager
def open_app(
    artifact: Artifact,
    tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
    *,
    max_length: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Encoder]:
    """See `nasc.evaluation.encoder.OpenEncoder`: its model by onnxruntime, here."""
    own = dataclasses.replace(artifact, runtime=RUNTIME)
    with open_here(own, tokenizer, max_length=max_length, batch_size=batch_size) as encoder:
        yield encoder
