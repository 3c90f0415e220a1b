"""Layers fitted to trained ones in closed form, in MLPs (`transfer`) and in any torch model (`convert`)."""

from eugen_fields.layers.fitting.convert import ChosenLinear, chosen_linears, convert
from eugen_fields.layers.fitting.layerwise import LayerReport
from eugen_fields.layers.fitting.transfer import TransferReport, transfer

__all__ = ["ChosenLinear", "LayerReport", "TransferReport", "chosen_linears", "convert", "transfer"]
