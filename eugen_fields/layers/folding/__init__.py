"""Chains of layers folded into fewer multiplications, with equal outputs (Remark IV of the EUGen paper)."""

from eugen_fields.layers.folding.fold import fold
from eugen_fields.layers.folding.folded import FoldedMLP, FoldedStage, folded_names

__all__ = ["FoldedMLP", "FoldedStage", "fold", "folded_names"]
