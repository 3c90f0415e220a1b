"""Input encodings, of points and of Gaussians, and the contraction of unbounded space."""

from eugen_fields.encodings.contraction import contract, contract_gaussians, contract_widths
from eugen_fields.encodings.frequency import FrequencyEncoding
from eugen_fields.encodings.gaussians import conical_frustum_gaussians, conical_frustum_widths
from eugen_fields.encodings.integrated import IntegratedEncoding, icosahedron_directions
from eugen_fields.encodings.planes import PlaneEncoding

__all__ = [
    "FrequencyEncoding",
    "IntegratedEncoding",
    "PlaneEncoding",
    "conical_frustum_gaussians",
    "conical_frustum_widths",
    "contract",
    "contract_gaussians",
    "contract_widths",
    "icosahedron_directions",
]
