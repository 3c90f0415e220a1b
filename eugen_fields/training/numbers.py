"""Numbers in the settings of a training, checked before anything is built from them: a size of 10^30 would end in the
middle of torch, a NaN in a trained field that shows nothing."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from typing import Any

from eugen_fields.errors import InputError, show_number

_LARGEST_INT = 2**31 - 1
_LARGEST_FLOAT = 1e30
"""What float32 holds with room for a product."""
_MAY_BE_MINUS_ONE = (
    "train_num_images_to_sample_from",
    "train_num_times_to_repeat_images",
    "eval_num_images_to_sample_from",
    "eval_num_times_to_repeat_images",
    "max_num_display_images",
)
"""Where nerfstudio means "all" by it."""
_AT_LEAST_ONE = (
    "steps_per_log max_buffer_size num_rays_per_chunk train_num_rays_per_batch eval_num_rays_per_batch "
    "num_rays_per_batch patch_size eval_num_rays_per_chunk eval_num_samples_per_chunk "
    "grid_update_interval grid_update_cells target_num_samples max_num_rays keyframe_rays rays_per_frame "
    "surface_points_per_frame cloud_points camera_res_scale_factor"
).split()
_BELOW_ONE = ("betas", "momentum")
_MOST = {
    "num_layers": 256,
    "proposal_num_layers": 256,
    "layer_width": 1 << 14,
    "proposal_width": 1 << 14,
    "feature_dim": 1 << 14,
    "color_width": 1 << 14,
    "num_features": 1 << 16,
    "rank": 1 << 14,
    "order": 16,
    "appearance_dim": 1 << 14,
    "position_frequencies": 64,
    "direction_frequencies": 64,
    "grid_resolution": 512,
    "samples_per_diagonal": 1 << 20,
    "num_samples": 1 << 14,
    "proposal_samples": 1 << 14,
    "num_scales": 16,
    "trace_steps": 1 << 14,
    "num_near_surface": 1 << 14,
    "num_stratified": 1 << 14,
}
"""More than any field has use for; what lies above them is a slip of the keyboard."""
_COPIES = 12
"""Bytes in training of a weight, and of a value that a layer computes: itself, its gradient, and either the state of an
optimiser or what the activation keeps."""


def check_numbers(config: Any) -> None:
    """Checks every number in the settings of a training.

    Args:
        config: a dataclass, with dataclasses and groups of them in it.

    Raises:
        InputError: naming the first flag whose number cannot be meant, and what would do.
    """
    for flag, name, value in _numbers(config, ""):
        _check(flag, name, value)
    _check_memory(config)


def _numbers(settings: Any, path: str) -> Iterator[tuple[str, str, int | float]]:
    """Flag, name and value of each number."""
    for item in dataclasses.fields(settings):
        value, place = getattr(settings, item.name), f"{path}{item.name}"
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _numbers(value, f"{place}.")
        elif isinstance(value, dict):
            for group, parts in value.items():
                for part, inner in parts.items() if isinstance(parts, dict) else ():
                    if dataclasses.is_dataclass(inner):
                        yield from _numbers(inner, f"{place}.{group}.{part}.")
        else:
            for one in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(one, (int, float)) and not isinstance(one, bool):
                    if not (one == math.inf and item.default == math.inf):
                        yield "--" + place.replace("_", "-"), item.name, one


def _check(flag: str, name: str, value: int | float) -> None:
    most = _MOST.get(name, _LARGEST_INT if isinstance(value, int) else _LARGEST_FLOAT)
    least = -1 if name in _MAY_BE_MINUS_ONE else int(name in _AT_LEAST_ONE and isinstance(value, int))
    if name in _BELOW_ONE:
        if not 0.0 <= value < 1.0:
            raise InputError(f"{flag} is {value}; it must be at least 0 and below 1.")
    elif not least <= value <= most:  # NaN is not
        raise InputError(f"{flag} is {show_number(value)}; it must lie between {least} and {most}.")


def physical_memory() -> float:
    """Bytes of this computer's memory; infinity where the system does not say."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", ()):
        return math.inf
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _check_memory(config: Any) -> None:
    """Refuses networks and steps that the memory of this computer cannot hold: the system would end the training, and
    others with it, without a word. CUDA says so itself."""
    model, pipeline = config.pipeline.model, config.pipeline
    there = physical_memory()
    layers, width = (getattr(model, name, None) or 1 for name in ("num_layers", "layer_width"))
    weights = _COPIES * layers * width * width
    if weights > there:
        raise InputError(
            f"--pipeline.model.num-layers {layers} and --pipeline.model.layer-width {width} need about "
            f"{weights / 1e9:.3g} GB in training, but there are {there / 1e9:.3g} GB. Give smaller ones."
        )
    samples = getattr(pipeline, "target_num_samples", 0)
    values = _COPIES * samples * layers * width
    if config.machine.device_type != "cuda" and values > there:
        raise InputError(
            f"--pipeline.target-num-samples {samples} needs about {values / 1e9:.3g} GB for each step, but there are "
            f"{there / 1e9:.3g} GB. Give a smaller number."
        )
