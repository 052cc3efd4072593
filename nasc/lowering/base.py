"""What a lowering gives, and what it must offer."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nasc.architecture.heads import MEAN, gives_vector, pooling_of, scores_tokens
from nasc.architecture.space import GELU, computed_in
from nasc.errors import UsageError
from nasc.lowering.tuned_kernels import TunedKernels

if TYPE_CHECKING:
    from nasc.architecture.space import Geometry, SearchSpace
    from nasc.networks.network import Network  # numpy: not needed to say what is possible

PRECISIONS = {
    "onnxruntime": ("fp32", "int8", "int8-emb4"),
    "openvino": ("fp32", "bf16", "fp16", "int8"),
    "tvm": ("fp32", "bf16", "int8"),
    "torch": ("fp32", "tf32", "bf16", "fp16"),
    "onnxruntime-web": ("fp32", "int8", "int8-emb4"),
}
"""By name of a runtime, the number formats that networks are lowered in for it."""

COMPILED = ("tvm", "torch")
"""Runtimes whose files are code for what computes on the device."""

BY_LENGTH = ("tvm",)
"""Runtimes whose files hold code for each length: what is measured of one length is made for it
alone, which is the same code in a fraction of the time."""

EVERYWHERE = {
    "onnxruntime": ("fp32", "int8", "int8-emb4"),
    "openvino": ("fp32", "int8"),
    "tvm": ("fp32",),
    "torch": ("fp32",),
    "onnxruntime-web": ("fp32", "int8", "int8-emb4"),
}
"""By name of a runtime, those that it computes in on any processor; of others the device is
asked."""

HANDWRITTEN = ("bf16", "int8")
"""Precisions of TVM by kernels that are not searched for, see `nasc.lowering.handwritten`."""

MULTIPLES = {("tvm", precision): 32 for precision in HANDWRITTEN}
"""By runtime and precision, what hidden sizes and the head size are multiples of; any size where
nothing is said."""

ONE_OUTPUT_ALONE = ("torch",)
"""Runtimes whose networks give one array, not scores of tokens, and have no relative positions in
attention: their table is made for a length, which these leave free. Nor have they rotary ones:
what these go by are tensors, whose values torch.export does not look at."""

PLAIN_ALONE = tuple(("tvm", precision) for precision in HANDWRITTEN)
"""Runtimes and precisions that pool by the mean alone, with the exact GELU, an embedding as wide as
the layers and no token types."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A network as a runtime opens it.

    Attributes:
        path: File that the runtime opens.
        companions: Other files that it reads with it.
        runtime: Name of the runtime.
        precision: Number format that it is made for.
        version: Version of the lowering that made it: another one may give other files.
        tuned: By which tuning records its kernels were compiled; None where by none.
    """

    path: Path
    companions: tuple[Path, ...]
    runtime: str
    precision: str
    version: int
    tuned: TunedKernels | None = None

    def remove(self) -> None:
        """Delete its files.

        Raises:
            OSError: If one cannot be deleted.
        """
        for path in (self.path, *self.companions):
            path.unlink(missing_ok=True)

    def sha256(self) -> str:
        """Of all its files.

        Raises:
            OSError: If one cannot be read.
        """
        digest = hashlib.sha256()
        for path in (self.path, *self.companions):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in (self.path, *self.companions))


class Lowering(Protocol):
    """A module of this folder."""

    VERSION: int
    """Raised when the same network would give other files."""

    def lower(
        self,
        network: Network,
        folder: Path,
        name: str = "model",
        *,
        offered: Collection[str] = (),
        shape: tuple[int, int] | None = None,
        lengths: Collection[int] = (),
        processor: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """Write a network, in the precision of its architecture, into a folder.

        Args:
            network: With its weights.
            folder: Exists; files of this name are replaced.
            name: Of the files, without their suffixes.
            offered: Precisions that the device computes in natively; what a file of int8 does
                beside its products may depend on it.
            shape: (batch, seq_len) of every run; None leaves both free.
            lengths: Of texts, which it must run and runs without padding, where a length has code
                of its own.
            processor: That it is for, where it is made for one: "arch" and "flags", as
                `profilers.context.read_context` gives them, and where a GPU computes the
                "accelerator" of a worker's context; None is this machine's.

        Raises:
            UsageError: If networks are not lowered in that precision.
            ExportError: If the network cannot be written in this form.
            OSError: If the files cannot be written.
        """


def unfit(runtime: str, precision: str, space: SearchSpace, head: str) -> str | None:
    """Why networks of a space are not made in a precision that a runtime has; None where they are.

    Args:
        runtime: Its name.
        precision: Out of `PRECISIONS`.
        space: Whose sizes are looked at.
        head: Of the networks that are made.
    """
    geometry = space.geometry
    hidden = {*space.hidden_sizes, geometry.hidden}
    sizes = {*hidden, geometry.head_size, *map(geometry.inner, hidden)}
    return unfit_sizes(runtime, precision, geometry, head, sizes, f"search space {space.name!r}")


def unfit_sizes(
    runtime: str, precision: str, geometry: Geometry, head: str, sizes: Collection[int], whose: str
) -> str | None:
    """Why a network is not made in a precision that a runtime has; None where it is.

    Args:
        runtime: Its name.
        precision: Out of `PRECISIONS`.
        geometry: Of the teacher.
        head: Of the network.
        sizes: Hidden and inner sizes, and the head size where there is attention.
        whose: They are, in words.
    """
    if runtime in ("tvm", *ONE_OUTPUT_ALONE) and (
        geometry.rotary or geometry.pre_norm or geometry.gated
    ):
        return (
            f"{runtime} makes no networks with rotary positions, gates or normalisation before "
            "layers"
        )
    if (runtime, precision) in PLAIN_ALONE:
        if scores_tokens(head):
            return f"{runtime} makes {precision} of vectors and states, not of {head!r}"
        if geometry.separator is not None:
            return f"{runtime} makes {precision} without token types, which tell two texts apart"
        if geometry.buckets is not None:
            return f"{runtime} makes {precision} without relative positions in attention"
        if gives_vector(head) and pooling_of(head).mode != MEAN.mode:
            return f"{runtime} makes {precision} with the mean over tokens, not with {head!r}"
        if gives_vector(head) and not pooling_of(head).plain:
            return f"{runtime} makes {precision} of pooled vectors as they are, not of {head!r}"
        if geometry.activation != GELU:
            return f"{runtime} makes {precision} with GELU, not with {geometry.activation!r}"
        if geometry.embedding is not None:
            return f"{runtime} makes {precision} without an embedding of its own size"
    if runtime in ONE_OUTPUT_ALONE:
        if scores_tokens(head):
            return f"{runtime} makes networks of vectors and states, not of {head!r}"
        if geometry.buckets is not None:
            return f"{runtime} makes networks without relative positions in attention"
    if precision == "int8-emb4" and geometry.row_size % 2:
        return (
            f"4 bits are stored in pairs, and the word embedding's rows are of {geometry.row_size} "
            "values"
        )
    multiple = MULTIPLES.get((runtime, precision), 1)
    wrong = sorted(size for size in sizes if size % multiple)
    if not wrong:
        return None
    return (
        f"{runtime} makes {precision} of hidden, inner and head sizes that are multiples of "
        f"{multiple}; "
        f"{whose} has {wrong[0]}"
    )


def made_of(runtime: str, computes: Collection[str]) -> tuple[str, ...]:
    """The precisions that networks are lowered in where a runtime computes in some.

    Args:
        runtime: Its name.
        computes: What it computes in on the device, as it tells.

    Returns:
        Out of `PRECISIONS`, in that order.
    """
    return tuple(p for p in PRECISIONS[runtime] if computed_in(p) in computes)


def check_precision(runtime: str, precision: str) -> None:
    """Refuse what a lowering does not make.

    Raises:
        UsageError: If networks are not lowered in a precision for a runtime.
    """
    if precision not in PRECISIONS[runtime]:
        raise UsageError(
            f"networks are not made in {precision!r} for the runtime {runtime}; "
            f"known: {', '.join(PRECISIONS[runtime])}"
        )
