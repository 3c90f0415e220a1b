"""Where along a ray a field is evaluated, how the values are composited, and what depth images say about them."""

from eugen_fields.sampling.depth_rays import DepthRays, depth_rays, sample_depth_rays
from eugen_fields.sampling.distance_bounds import DistanceBounds, point_bounds, ray_bounds
from eugen_fields.sampling.follow import Composite, follow_rays
from eugen_fields.sampling.histograms import annealed, distortion_loss, interlevel_loss, inverse_distribution, resample
from eugen_fields.sampling.intervals import alpha_weights, transmittance
from eugen_fields.sampling.occupancy import OccupancyGrid
from eugen_fields.sampling.packed import PackedSamples, accumulate, intersect_box, render_weights, sample_rays
from eugen_fields.sampling.proposals import Intervals, march
from eugen_fields.sampling.seen import SeenCells
from eugen_fields.sampling.spacing import Spacing, to_distances, to_normalised
from eugen_fields.sampling.sphere_trace import sphere_trace
from eugen_fields.sampling.visual_hull import visual_hull

__all__ = [
    "Composite",
    "DepthRays",
    "DistanceBounds",
    "Intervals",
    "OccupancyGrid",
    "PackedSamples",
    "SeenCells",
    "Spacing",
    "accumulate",
    "alpha_weights",
    "annealed",
    "depth_rays",
    "distortion_loss",
    "follow_rays",
    "interlevel_loss",
    "intersect_box",
    "inverse_distribution",
    "march",
    "point_bounds",
    "ray_bounds",
    "render_weights",
    "resample",
    "sample_depth_rays",
    "sample_rays",
    "sphere_trace",
    "to_distances",
    "to_normalised",
    "transmittance",
    "visual_hull",
]
