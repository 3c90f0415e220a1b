"""EUGen, residual EUGen, PRP, SNNK and low-rank layers, an MLP built from them, folding, transfer and conversion.
Needs torch alone."""

from eugen_fields.layers.eugen import EUGenLinear
from eugen_fields.layers.fitting.convert import ChosenLinear, chosen_linears, convert
from eugen_fields.layers.fitting.transfer import LayerReport, TransferReport, transfer
from eugen_fields.layers.folding.fold import fold
from eugen_fields.layers.folding.folded import folded_names
from eugen_fields.layers.kinds import LAYER_KINDS, LayerKind, layer_options
from eugen_fields.layers.low_rank import LowRankLinear
from eugen_fields.layers.mlp import MLP
from eugen_fields.layers.prp import PRPLinear
from eugen_fields.layers.residual import ResidualEUGenLayer
from eugen_fields.layers.residual_factors import ResidualEUGen
from eugen_fields.layers.snnk import SNNKLinear
from eugen_fields.layers.theory.estimator import estimator_variance
from eugen_fields.layers.theory.explicit import ExplicitEUGenLinear
from eugen_fields.layers.theory.polynomials import fit_polynomial

__all__ = [
    "LAYER_KINDS",
    "MLP",
    "ChosenLinear",
    "EUGenLinear",
    "ExplicitEUGenLinear",
    "LayerKind",
    "LayerReport",
    "LowRankLinear",
    "PRPLinear",
    "ResidualEUGen",
    "ResidualEUGenLayer",
    "SNNKLinear",
    "TransferReport",
    "chosen_linears",
    "convert",
    "estimator_variance",
    "fit_polynomial",
    "fold",
    "folded_names",
    "layer_options",
    "transfer",
]
