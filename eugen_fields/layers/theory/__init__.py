"""The EUGen paper's theory: the unbiased estimator, its variance and tails, and polynomials for activations.

`theory.explicit` holds the layer with its weight side as the paper defines it; it builds on layers.eugen, which builds
on this package, so it is not imported here.
"""

from eugen_fields.layers.theory.estimator import deviation_bound, estimator_variance
from eugen_fields.layers.theory.polynomials import fit_polynomial

__all__ = ["deviation_bound", "estimator_variance", "fit_polynomial"]
