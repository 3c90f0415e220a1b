"""Where along a ray a field is evaluated, and how the values are composited."""

from eugen_fields.sampling.histograms import annealed, distortion_loss, interlevel_loss, inverse_distribution, resample
from eugen_fields.sampling.intervals import alpha_weights, transmittance
from eugen_fields.sampling.occupancy import OccupancyGrid
from eugen_fields.sampling.packed import PackedSamples, accumulate, intersect_box, render_weights, sample_rays
from eugen_fields.sampling.spacing import Spacing, to_distances, to_normalised

__all__ = [
    "OccupancyGrid",
    "PackedSamples",
    "Spacing",
    "accumulate",
    "alpha_weights",
    "annealed",
    "distortion_loss",
    "interlevel_loss",
    "intersect_box",
    "inverse_distribution",
    "render_weights",
    "resample",
    "sample_rays",
    "to_distances",
    "to_normalised",
    "transmittance",
]
