"""Affine maps that remember which state-dict entries they were computed from."""

from typing import NamedTuple

from torch import Tensor

Names = tuple[str, ...]
"""State-dict entries that a value was computed from."""


class Affine(NamedTuple):
    """weight f + bias: weight (rows, columns) and bias (rows,), with the names of what each was computed from."""

    weight: Tensor
    bias: Tensor
    weight_names: Names
    bias_names: Names

    def after(self, inner: "Affine") -> "Affine":
        """The composition weight (inner.weight f + inner.bias) + bias."""
        bias, bias_names = self.bias, self.bias_names
        if inner.bias_names:  # else it is zero
            bias = self.weight @ inner.bias + bias
            bias_names = (*self.weight_names, *inner.bias_names, *bias_names)
        return Affine(self.weight @ inner.weight, bias, self.weight_names + inner.weight_names, bias_names)

    def scaled(self, scale: Tensor, names: Names) -> "Affine":
        """diag(scale) times the map."""
        bias_names = self.bias_names + names if self.bias_names else ()
        return Affine(self.weight * scale[:, None], self.bias * scale, self.weight_names + names, bias_names)


def affine(weight: Tensor, bias: Tensor | None, weight_names: Names, bias_names: Names = ("bias",)) -> Affine:
    """weight f + bias; without a bias zeros, which come from nothing."""
    if bias is None:
        return Affine(weight, weight.new_zeros(weight.shape[0]), weight_names, ())
    return Affine(weight, bias, weight_names, bias_names)
