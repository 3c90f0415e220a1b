"""Input encodings, of points and of Gaussians, and the contraction of unbounded space."""

from eugen_fields.encodings.contraction import contract, contract_gaussians
from eugen_fields.encodings.frequency import FrequencyEncoding
from eugen_fields.encodings.gaussians import conical_frustum_gaussians
from eugen_fields.encodings.integrated import IntegratedEncoding, icosahedron_directions

__all__ = [
    "FrequencyEncoding",
    "IntegratedEncoding",
    "conical_frustum_gaussians",
    "contract",
    "contract_gaussians",
    "icosahedron_directions",
]
