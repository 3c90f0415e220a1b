"""EUGen, PRP, SNNK and low-rank layers, an MLP built from them, and folding. Needs torch alone."""

from eugen_fields.layers.eugen import EUGenLinear
from eugen_fields.layers.fold import fold
from eugen_fields.layers.low_rank import LowRankLinear
from eugen_fields.layers.mlp import LAYER_KINDS, MLP, layer_options
from eugen_fields.layers.prp import PRPLinear
from eugen_fields.layers.snnk import SNNKLinear

__all__ = ["LAYER_KINDS", "MLP", "EUGenLinear", "LowRankLinear", "PRPLinear", "SNNKLinear", "fold", "layer_options"]
