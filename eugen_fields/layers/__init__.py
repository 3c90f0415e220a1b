"""EUGen, PRP and low-rank layers, an MLP built from them, folding and conversion. Needs torch alone."""

from eugen_fields.layers.convert import ChosenLinear, chosen_linears, convert
from eugen_fields.layers.eugen import EUGenLinear
from eugen_fields.layers.fold import fold, folded_names
from eugen_fields.layers.low_rank import LowRankLinear
from eugen_fields.layers.mlp import LAYER_KINDS, MLP, layer_options
from eugen_fields.layers.prp import PRPLinear

__all__ = [
    "LAYER_KINDS",
    "MLP",
    "ChosenLinear",
    "EUGenLinear",
    "LowRankLinear",
    "PRPLinear",
    "chosen_linears",
    "convert",
    "fold",
    "folded_names",
    "layer_options",
]
