"""What the supernet knows about quality: block losses, their sensitivity, true losses.

The final loss of a network is the mean over held-out sentences of one minus the cosine
between its sentence vector and the teacher's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nasc.architecture.space import Block
from nasc.data.tokens import Batch
from nasc.networks.torch_network import Mask, pool
from nasc.supernet.supernet import Supernet
from nasc.utils.progress import Progress


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A batch with the teacher's states, kept so that every candidate meets the same."""

    mask: Mask
    real: Tensor
    states: list[Tensor]
    pooled: Tensor


class Scorer:
    """Losses on one fixed set of held-out sentences."""

    def __init__(self, supernet: Supernet, batches: Sequence[Batch], bf16: bool = False) -> None:
        """Run the teacher once over the sentences.

        Args:
            supernet: Whose blocks and networks are scored.
            batches: The sentences.
            bf16: Whether products of candidates are computed in bfloat16; the teacher's are not.
        """
        self.supernet = supernet
        self._bf16 = bf16
        self._final: dict[tuple[Block, ...], float] = {}
        self._pooling = supernet.teacher.pooling.mode
        self._prepared = []
        with torch.no_grad():
            for batch in (b.to(supernet.teacher.device) for b in batches):
                mask = Mask.of(batch.attention_mask)
                states = supernet.teacher_states(batch.input_ids, mask)
                finished = supernet.finish(states[-1])
                pooled = functional.normalize(pool(finished, mask, self._pooling), dim=-1)
                self._prepared.append(_Prepared(mask, batch.attention_mask.bool(), states, pooled))
        self._variance = [
            self._mean_square([(p.states[i] - self._mean(i))[p.real] for p in self._prepared])
            for i in range(1, supernet.space.n_blocks + 1)
        ]

    def _mean(self, border: int) -> Tensor:
        return torch.cat([p.states[border][p.real] for p in self._prepared]).mean(0)

    @staticmethod
    def _mean_square(parts: list[Tensor]) -> float:
        return float(torch.cat([part.flatten() for part in parts]).square().mean())

    @torch.no_grad()
    def block_losses(
        self, position: int, blocks: Sequence[Block], progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """Dev loss of candidate blocks on the teacher's own input: squared error over variance.

        Candidates that begin alike share the work of their common beginning.

        Args:
            position: Of the block in the network, from 0.
            blocks: Candidates.
            progress: Called with (candidates done, in all, message).

        Returns:
            (len(blocks),). A kept block has loss 0 by construction.
        """
        wanted = {b: i for i, b in enumerate(blocks) if not b.kept}
        errors = np.zeros(len(blocks))
        elements = sum(int(p.real.sum()) for p in self._prepared)
        elements *= self.supernet.space.geometry.hidden
        done = 0
        own = self.supernet.blocks[position]
        groups: dict[tuple[int, int], set[tuple[str, ...]]] = {}
        for block in wanted:
            n = len(block.operations)
            prefixes = groups.setdefault((block.hidden, own.first_slot(n)), set())  # type: ignore[operator]
            prefixes.update(block.operations[:i] for i in range(1, n + 1))
        for block in wanted:
            if not block.operations:
                errors[wanted[block]] = sum(
                    float((p.states[position] - p.states[position + 1])[p.real].square().sum())
                    for p in self._prepared
                )
        for (hidden, first), prefixes in groups.items():
            for p in self._prepared:
                target = p.states[position + 1][p.real]
                with self._autocast():
                    paths: list[Tensor] = [own.enter(p.states[position], hidden)]  # type: ignore[operator]
                    for prefix in sorted(prefixes):
                        n = len(prefix)
                        del paths[n:]
                        slot = first + n - 1
                        paths.append(own.operate(slot, hidden, prefix[-1], paths[-1], p.mask))  # type: ignore[operator]
                        place = wanted.get(Block(hidden, prefix))
                        if place is not None and own.first_slot(n) == first:  # type: ignore[operator]
                            out = own.leave(paths[-1][p.real], hidden)  # type: ignore[operator]
                            errors[place] += float((out - target).square().sum())
            done += sum(
                b.hidden == hidden and own.first_slot(len(b.operations)) == first  # type: ignore[operator]
                for b in wanted
            )
            if progress is not None:
                progress(done, len(wanted), f"block {position + 1}, hidden size {hidden}")
        return errors / elements / self._variance[position]

    def _autocast(self) -> torch.autocast:
        device = self.supernet.teacher.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self._bf16)

    def final_losses(
        self, networks: Sequence[Sequence[Block]], progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """True losses of complete networks of the supernet; each is taken once.

        Networks that begin alike share the work of their common beginning.

        Args:
            networks: The blocks of each.
            progress: Called with (batches done, in all, message).

        Returns:
            (len(networks),).
        """
        new = sorted({tuple(n) for n in networks} - self._final.keys(), key=_in_text)
        totals = np.zeros(len(new))
        for done, p in enumerate(self._prepared if new else ()):
            if progress is not None:
                progress(done, len(self._prepared), f"{len(new)} networks")
            totals += self._distances(p, new)
        sentences = sum(len(p.pooled) for p in self._prepared)
        self._final |= dict(zip(new, totals / sentences, strict=True))
        return np.array([self._final[tuple(n)] for n in networks])

    @torch.no_grad()
    def _distances(self, p: _Prepared, networks: Sequence[tuple[Block, ...]]) -> NDArray[Any]:
        """(len(networks),) one minus the cosine, summed over a batch; networks in order of text."""
        found = np.zeros(len(networks))
        states: dict[tuple[Block, ...], Tensor] = {}
        for place, blocks in enumerate(networks):
            begins = [blocks[:i] for i in range(len(blocks) + 1)]
            states = {begin: states[begin] for begin in begins if begin in states}
            for begin in begins:
                if all(block.kept for block in begin):
                    states[begin] = p.states[len(begin)]
                elif begin not in states:
                    x = states[begin[:-1]]
                    index = len(begin) - 1
                    with self._autocast():
                        states[begin] = self.supernet.forward_block(index, x, p.mask, begin[-1])
            finished = self.supernet.finish(states[blocks].float())
            vectors = functional.normalize(pool(finished, p.mask, self._pooling), dim=-1)
            found[place] = float((1 - (vectors * p.pooled).sum(-1)).sum())
        return found

    def final_loss(self, blocks: Sequence[Block]) -> float:
        """True loss of a complete network of the supernet."""
        return float(self.final_losses([blocks])[0])

    def sensitivity(
        self, position: int, blocks: Iterable[Block], losses: Iterable[float]
    ) -> tuple[float, list[float]]:
        """How strongly one block's loss shows in the final loss.

        One student block at a time is put into the teacher; the final losses are regressed
        on the block losses, through the origin.

        Returns:
            The slope, and the final losses it was fitted to.
        """
        kept = self.supernet.space.kept_block
        x = np.fromiter(losses, float)
        network = [kept] * self.supernet.space.n_blocks
        y = []
        for block in blocks:
            y.append(self.final_loss([*network[:position], block, *network[position + 1 :]]))
        return float(np.dot(x, y) / max(np.dot(x, x), 1e-12)), y


def _in_text(blocks: Sequence[Block]) -> list[str]:
    return [str(block) for block in blocks]
