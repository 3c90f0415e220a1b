"""Layer kinds timed as networks of one shape, and as copies of one dense layer."""

from eugen_fields.benchmark.layers.layers import Layers
from eugen_fields.benchmark.layers.synthetic import Synthetic

__all__ = ["Layers", "Synthetic"]
