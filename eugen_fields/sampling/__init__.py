"""Where along a ray a field is evaluated, how the values are composited, and what depth images say about them."""

from eugen_fields.sampling.depth_rays import DepthRays, depth_rays, sample_depth_rays
from eugen_fields.sampling.distance_bounds import DistanceBounds, point_bounds, ray_bounds
from eugen_fields.sampling.follow import (
    VISIBLE,
    Composite,
    cone_places,
    density_normals,
    evaluate_chunks,
    evaluate_cone_chunks,
    follow_rays,
)
from eugen_fields.sampling.histograms import annealed, distortion_loss, interlevel_loss, inverse_distribution, resample
from eugen_fields.sampling.intervals import alpha_weights, transmittance
from eugen_fields.sampling.occupancy import OccupancyGrid
from eugen_fields.sampling.packed import PackedSamples, accumulate, intersect_box, render_weights, sample_rays
from eugen_fields.sampling.proposals import Intervals, march
from eugen_fields.sampling.seen import SeenCells
from eugen_fields.sampling.spacing import Spacing, to_distances, to_normalised
from eugen_fields.sampling.sphere_trace import SURFACE_BACKGROUND, SURFACE_COLOR, shaded, sphere_trace, trace_box
from eugen_fields.sampling.visual_hull import visual_hull

__all__ = [
    "SURFACE_BACKGROUND",
    "SURFACE_COLOR",
    "VISIBLE",
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
    "cone_places",
    "density_normals",
    "depth_rays",
    "distortion_loss",
    "evaluate_chunks",
    "evaluate_cone_chunks",
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
    "shaded",
    "sphere_trace",
    "to_distances",
    "to_normalised",
    "trace_box",
    "transmittance",
    "visual_hull",
]
