"""What `nasc compile --format web` writes: the model that was measured, as a package of npm."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from device_profiles.temporary import temporary_folder
from nasc.context.context import RunContext
from nasc.errors import PackageError
from nasc.evaluation.encoder import BATCH_SIZE, Encoder, open_here
from nasc.lowering import Artifact
from nasc.package.build import TOKENIZER, build_package
from nasc.package.formats.web_folder import MODEL, check_head, run_more
from nasc.package.manifest import Conditions, Manifest, PeakMemory
from nasc.package.tokenizer_binary import compile_tokenizer
from nasc.package.tokenizer_files import write_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RUNTIME = "onnxruntime"
"""What the package beside it is for, whose model it takes."""

NOT_PROMISED = (
    "not promised in a browser: measured was this model by onnxruntime, in the package beside, and "
    "a browser runs another build, onnxruntime-web"
)
"""What such a folder says of its latency."""


def check_web(context: RunContext, head: str) -> None:
    """Raise before anything is searched where no package for the web can be made.

    Args:
        context: Of the run.
        head: That the network will have.

    Raises:
        PackageError: If the tokenizer does what its port does not, or there is no call for the
            head.
    """
    check_head(head)
    with temporary_folder() as folder:
        write_tokenizer(folder, context.tokenizer, context.max_length)
        compile_tokenizer(Tokenizer.from_file(str(folder / TOKENIZER)))


def write_web(
    context: RunContext,
    output: Path,
    package: Path,
    manifest: Manifest,
    force: bool,
    sign: Path | None = None,
) -> Path:
    """Write the package for the web beside one for onnxruntime.

    Args:
        context: Of the run.
        output: The folder.
        package: Of the same network, for onnxruntime, written a moment ago.
        manifest: What `nasc.package.build.build_package` was given for it.
        force: Replace the folder that is there.
        sign: Private key that it is signed with.

    Returns:
        The folder, as an absolute path.

    Raises:
        PackageError: If its JavaScript gives other tokens or vectors than Python; nothing of it is
            written.
    """

    def run(folder: Path) -> None:
        held, found = run_more(folder, manifest)
        if held is False:
            raise PackageError(
                f"the package for the web does not hold in node: {found}. The package for "
                f"{RUNTIME} is written, that for the web is not: please report this, with both"
            )
        context.say_once(
            f"the package for the web was not run: {found}"
            if held is None
            else f"the package for the web, run in node: {found}"
        )

    return build_package(
        output,
        model=package / MODEL,
        tokenizer=context.tokenizer,
        manifest=web_manifest(manifest),
        force=force,
        say=context.reporter.say,
        open_encoder=open_web,
        check=run,
        sign=sign,
    )


def web_manifest(manifest: Manifest) -> Manifest:
    """What the folder says of itself: nothing of a latency or of limits, which no browser keeps.

    Args:
        manifest: Of the package for onnxruntime. Its parity and quality are those of the same file.
    """
    said = manifest.conditions
    return dataclasses.replace(
        manifest,
        limits={},
        conditions=Conditions(
            said.device,
            "web",
            said.batch,
            said.seq_len,
            said.threads,
            said.statistic,
            fixed_shape=said.fixed_shape,
        ),
        predicted=None,
        latency_table=NOT_PROMISED,
        estimate=None,
        measured=None,
        tokenisation_ms=None,
        peak_memory=PeakMemory(),
        attempts=(),
        evidence={},
    )


@contextlib.contextmanager
def open_web(
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
