"""A field's matrices rounded one after the other, each on what it reads once those before it are rounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from eugen_fields.fields import SDFField
from eugen_fields.layers.folding.folded import INPUT, FoldedMLP, FoldedStage, value_name
from eugen_fields.layers.folding.seeded import FoldedPRP
from eugen_fields.storing.compression.numbers import StoredNetwork, get_numbers, set_numbers, storable
from eugen_fields.storing.compression.rounding import Grid, Rounded, compensated
from eugen_fields.storing.compression.targets import Target
from eugen_fields.storing.planes import RoundedPlanes

ChooseGrid = Callable[[str, Tensor, Tensor], Grid]
"""What a matrix is rounded to, from its name, its values (rows, columns) and how much its columns matter (columns,)."""


@dataclass
class Quantised:
    """Numbers of a field file."""

    matrices: dict[str, Rounded] = field(default_factory=dict)
    vectors: dict[str, Tensor] = field(default_factory=dict)
    """Vectors that were changed to make up for rounding."""
    planes: dict[str, RoundedPlanes] = field(default_factory=dict)

    def numbers(self) -> dict[str, Tensor]:
        """All of them as floats."""
        return {name: rounded.values() for name, rounded in (self.matrices | self.planes).items()} | self.vectors


@torch.no_grad()
def quantise(reference: StoredNetwork, work: StoredNetwork, target: Target, choose: ChooseGrid) -> Quantised:
    """Rounds all matrices of a field, whose planes are rounded already.

    Each matrix is first fitted to give, from the inputs that it gets now, what it gave before, and then rounded by
    `compensated`; biases and norm columns take up what is left. Networks are not fitted to make up for the rounding of
    planes: where that loses the noise of what few rays saw, they would learn to bring it back.

    Args:
        reference: the field in full precision.
        work: a field of the same stages and numbers, whose numbers are replaced by the rounded ones.
        target: whose batches say what the networks read.
        choose: what each matrix is rounded to.
    """
    directions, matter = target.inputs
    weight = matter / matter.sum()
    found = Quantised()
    trunk = _Network("trunk", reference, work, weight, choose, found)
    inputs = target.encoded(work)  # type: ignore[arg-type]
    before, after = trunk.run(inputs, inputs)
    if not isinstance(reference, SDFField):
        assert directions is not None
        head = _Network("color_head", reference, work, weight, choose, found)
        head.run(*(torch.cat([value[:, 1:], directions], dim=-1) for value in (before, after)))
    return found


class _Network:
    """One network of a field, before and after rounding."""

    def __init__(
        self,
        name: str,
        reference: StoredNetwork,
        work: StoredNetwork,
        weight: Tensor,
        choose: ChooseGrid,
        found: Quantised,
    ) -> None:
        self.name, self.reference, self.work = name, reference, work
        self.weight, self.choose, self.found = weight, choose, found

    def run(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Rounds stage by stage; returns what the network gives before and after, (N, width)."""
        old, new = {INPUT: before}, {INPUT: after}
        stages = getattr(self.reference, self.name).stages
        work_network = getattr(self.work, self.name)
        assert isinstance(work_network, FoldedMLP)
        for index, stage in enumerate(stages):
            place = f"{self.name}.{index}"
            if isinstance(stage, FoldedStage):
                self._linear(place, stage, work_network.stages[index], old, new)
            elif isinstance(stage, FoldedPRP):
                self._low_rank_term(place, stage, work_network.stages[index], old, new)
            before, after = stage(old), work_network.stages[index](new)
            old[value_name(index)], new[value_name(index)] = before, after
        return before, after

    def _linear(
        self,
        place: str,
        stage: FoldedStage,
        rounded: torch.nn.Module,
        old: Mapping[str, Tensor],
        new: Mapping[str, Tensor],
    ) -> None:
        assert isinstance(rounded, FoldedStage)
        first = stage.reads[0]
        if stage.norm_weight is not None:
            assert stage.norm_bias is not None
            goal = F.linear(old[first], stage.norm_weight, stage.norm_bias)
            self._fit(f"{place}.norm_bias", [f"{place}.norm_weight"], [new[first]], goal, keep_order=True)
        goal = stage.projected(old)
        columns = [new[read] for read in stage.reads]
        free = []
        if stage.norm_column is not None:
            norm = rounded.norm(new)
            if stage.squared_norm:  # its column does not enter linearly, and is kept
                goal = goal + (norm * stage.norm_column).square()
            else:
                free = [(f"{place}.norm_column", norm)]
        self._fit(f"{place}.bias", [f"{place}.weight.{read}" for read in stage.reads], columns, goal, free)

    def _low_rank_term(
        self,
        place: str,
        stage: FoldedPRP,
        rounded: torch.nn.Module,
        old: Mapping[str, Tensor],
        new: Mapping[str, Tensor],
    ) -> None:
        assert isinstance(rounded, FoldedPRP)
        if stage.down is None or stage.up is None:
            return
        before, after = (torch.cat([values[read] for read in stage.reads], dim=-1) for values in (old, new))
        inner = F.linear(before, stage.down)
        self._fit(None, [f"{place}.down"], [after], inner)
        assert rounded.down is not None
        self._fit(None, [f"{place}.up"], [F.linear(after, rounded.down)], F.linear(inner, stage.up))

    def _fit(
        self,
        bias: str | None,
        names: list[str],
        inputs: list[Tensor],
        goal: Tensor,
        free: list[tuple[str, Tensor]] | None = None,
        *,
        keep_order: bool = False,
    ) -> None:
        """Rounds the matrices of `names`, which read `inputs` (N, columns) each, so that with the free vectors and the
        bias they give `goal` (N, rows)."""
        free = free or []
        ones = [torch.ones_like(goal[:, :1])] if bias is not None else []
        x = torch.cat([*inputs, *(value for _, value in free), *ones], dim=1).double()
        vectors = [name for name, _ in free] + ([bias] if bias is not None else [])
        matrices = [get_numbers(self.reference, name) for name in names]
        own = torch.cat([*matrices, *(get_numbers(self.reference, name)[:, None] for name in vectors)], dim=1).double()
        weighted = x * self.weight.double()[:, None]
        moments = weighted.T @ x
        damping = 1e-3 * float(moments.diagonal().mean())
        damped = moments + max(damping, 1e-12) * torch.eye(len(moments), dtype=torch.float64)
        if not keep_order:
            off = goal.double() - x @ own.T
            own = own + torch.linalg.solve(damped, weighted.T @ off).T
        matter = moments.diagonal()
        grids, start = [], 0
        for name, matrix in zip(names, matrices):
            count = matrix.shape[1]
            grids.append(
                (count, self.choose(name, own[:, start : start + count].float(), matter[start : start + count]))
            )
            start += count
        blocks, left = compensated(own, moments, grids, keep_order=keep_order)
        self.found.matrices |= dict(zip(names, blocks))
        set_numbers(self.work, {name: block.values() for name, block in zip(names, blocks)})
        for name, column in zip(vectors, left.T):
            self.found.vectors[name] = storable(column)
            set_numbers(self.work, {name: self.found.vectors[name]})
