"""EUGen, PRP, SNNK and low-rank layers, an MLP built from them, folding, transfer and conversion. Needs torch alone."""

from eugen_fields.layers.convert import ChosenLinear, chosen_linears, convert
from eugen_fields.layers.estimator import deviation_bound, estimator_variance
from eugen_fields.layers.eugen import EUGenLinear
from eugen_fields.layers.explicit import ExplicitEUGenLinear
from eugen_fields.layers.fold import fold, folded_names
from eugen_fields.layers.low_rank import LowRankLinear
from eugen_fields.layers.mlp import LAYER_KINDS, MLP, layer_options
from eugen_fields.layers.polynomials import fit_polynomial
from eugen_fields.layers.prp import PRPLinear
from eugen_fields.layers.snnk import SNNKLinear
from eugen_fields.layers.transfer import LayerReport, TransferReport, transfer

__all__ = [
    "LAYER_KINDS",
    "MLP",
    "ChosenLinear",
    "EUGenLinear",
    "ExplicitEUGenLinear",
    "LayerReport",
    "LowRankLinear",
    "PRPLinear",
    "SNNKLinear",
    "TransferReport",
    "chosen_linears",
    "convert",
    "deviation_bound",
    "estimator_variance",
    "fit_polynomial",
    "fold",
    "folded_names",
    "layer_options",
    "transfer",
]
