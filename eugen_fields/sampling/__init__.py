"""Where along a ray a field is evaluated, and how the values are composited."""

from eugen_fields.sampling.occupancy import OccupancyGrid
from eugen_fields.sampling.packed import PackedSamples, accumulate, intersect_box, render_weights, sample_rays

__all__ = ["OccupancyGrid", "PackedSamples", "accumulate", "intersect_box", "render_weights", "sample_rays"]
