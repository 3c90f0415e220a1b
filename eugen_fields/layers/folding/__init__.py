"""Chains of layers folded into fewer multiplications, with equal outputs (Remark IV of the EUGen paper)."""

from eugen_fields.layers.folding.fold import fold, folded_names

__all__ = ["fold", "folded_names"]
