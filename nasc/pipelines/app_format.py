"""What `nasc compile --format web,android,ios` writes: the model that was measured, for apps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from device_profiles.temporary import temporary_folder
from nasc.context.context import RunContext
from nasc.errors import PackageError
from nasc.evaluation.encoder import BATCH_SIZE, Encoder, open_here
from nasc.lowering import Artifact
from nasc.package.build import TOKENIZER, build_package
from nasc.package.formats import PackageFormat, format_of, opened_by
from nasc.package.formats.app_contents import check_vectors
from nasc.package.manifest import Manifest
from nasc.package.tokenizer_binary import compile_tokenizer
from nasc.package.tokenizer_files import write_tokenizer
from nasc.package.unmeasured import without_latency

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_app(name: str, context: RunContext, head: str) -> None:
    """Raise before anything is searched where no package for an app can be made.

    Args:
        name: Of the format.
        context: Of the run.
        head: That the network will have.

    Raises:
        PackageError: If the tokenizer does what its port does not, there is no call for the head,
            or what makes its files is not installed.
    """
    check_vectors(name, head)
    format_of(name).check_ready(name)
    with temporary_folder() as folder:
        write_tokenizer(folder, context.tokenizer, context.max_length)
        compile_tokenizer(Tokenizer.from_file(str(folder / TOKENIZER)))


def write_app(
    name: str,
    context: RunContext,
    output: Path,
    model: Path,
    manifest: Manifest,
    force: bool,
    sign: Path | None = None,
) -> Path:
    """Write the package for an app of a model's file.

    Args:
        name: Of the format.
        context: Of the run.
        output: The folder.
        model: The file that is opened.
        manifest: Of the package that was measured, with parity and quality of this file.
        force: Replace the folder that is there.
        sign: Private key that it is signed with.

    Returns:
        The folder, as an absolute path.

    Raises:
        PackageError: If its programs give other tokens or vectors than Python; nothing of it is
            written.
    """
    own = app_manifest(name, manifest)
    return build_package(
        output,
        model=model,
        tokenizer=context.tokenizer,
        manifest=own,
        force=force,
        say=context.reporter.say,
        open_encoder=open_app,
        check=programs_hold(name, format_of(name), own, context),
        sign=sign,
    )


def programs_hold(
    name: str, form: PackageFormat, manifest: Manifest, context: RunContext
) -> Callable[[Path], None]:
    """What raises where the programs of a package that is written give something else than Python.

    Args:
        name: Of the format.
        form: The same.
        manifest: Of the package.
        context: Told what was found.
    """

    def run(folder: Path) -> None:
        if not form.PROGRAMS:
            return
        held, found = form.run_more(folder, manifest)
        if held is False:
            raise PackageError(
                f"the {form.PROGRAMS} of the package for {name} does not hold: {found}. It is not "
                "written: please report this, with what was compiled"
            )
        context.say_once(
            f"the package for {name} was not run: {found}"
            if held is None
            else f"the {form.PROGRAMS} of the package for {name}: {found}"
        )

    return run


def app_manifest(name: str, manifest: Manifest) -> Manifest:
    """What the folder says of itself: nothing of a latency or of limits, which no app keeps.

    Args:
        name: Of the format.
        manifest: Of the package that was measured, with parity and quality of the app's model.
    """
    return without_latency(manifest, name, format_of(name).NOT_PROMISED)


@contextlib.contextmanager
def open_app(
    artifact: Artifact,
    tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
    *,
    max_length: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Encoder]:
    """See `nasc.evaluation.encoder.OpenEncoder`: its model by what opens it here."""
    own = dataclasses.replace(artifact, runtime=opened_by(artifact.runtime))
    with open_here(own, tokenizer, max_length=max_length, batch_size=batch_size) as encoder:
        yield encoder
