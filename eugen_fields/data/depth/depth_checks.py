"""Slips of units and axes in depth streams, recognised before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from eugen_fields.data.depth.depth_streams import DepthStream
from eugen_fields.errors import InputError

LIKELY_DEPTH = (0.02, 100.0)
"""Range of the median depth of a stream, metres."""
_USUAL_DEPTH = (0.2, 20.0)
_USUAL_SCALES = (1.0, 0.001, 1 / 5000, 0.01)

_PAIRS_FROM = 12
_POINTS = 300
_TOLERANCE = 0.05


def check_median(source: Path, medians: np.ndarray, scale: float) -> None:
    """Checks that the median depth is one that a camera can see, within LIKELY_DEPTH.

    Args:
        source: the file that lists the frames, for messages.
        medians: median depth of each frame, shape (frames,), metres; NaN where it has none.
        scale: metres per unit that was used.

    Raises:
        InputError: naming the median and the flag with a likelier scale.
    """
    if np.isnan(medians).all():
        return
    median = float(np.nanmedian(medians))
    if LIKELY_DEPTH[0] <= median <= LIKELY_DEPTH[1]:
        return
    units = median / scale
    likely = [value for value in _USUAL_SCALES if _USUAL_DEPTH[0] <= units * value <= _USUAL_DEPTH[1]]
    better = likely[0] if likely else 1.0 / units
    raise InputError(
        f"{source}: the median depth is {median:.3g} m with {scale:g} metres per unit, too "
        f"{'near' if median < 1 else 'far'} for a depth camera. Put "
        f"`depth-stream --depth-unit-scale-factor {better:.3g}` at the end of the command if {units:.4g} units are "
        f"{units * better:.3g} m."
    )


def check_agreement(source: Path, stream: DepthStream, pose_scale: float = 1.0) -> None:
    """Checks that frames see surfaces in the same places, and would not agree much better with other units or axes.

    Points of some frames are projected into later ones. The share that has there the depth that the image says is
    compared with that for translations 1000 times larger and smaller, and for cameras of the other axes.

    Args:
        source: the file that lists the frames, for messages.
        stream: the stream, its frames in order.
        pose_scale: metres per unit of translations that was used.

    Raises:
        InputError: naming the flag that fixes it.
    """
    if len(stream) < 2:
        return
    shares = {(factor, False): _agreement(stream, factor) for factor in (1.0, 0.001, 1000.0)}
    shares[1.0, True] = _agreement(stream, flipped=True)
    (factor, flipped), best = max(shares.items(), key=lambda item: item[1])
    given = shares[1.0, False]
    if best < 0.25 or best < 1.3 * given:
        return
    found = f"{source}: only {given:.0%} of what a frame sees lies where later frames see it, but {best:.0%} would "
    if flipped:
        raise InputError(
            found + "if the cameras' y and z axes pointed the other way. Put `depth-stream --camera-axes opencv` (y "
            "down, z forward) or `opengl` (y up, z backward), whichever it is not now, at the end of the command."
        )
    median = float(stream.depth(0)[stream.depth(0) > 0].median())
    unit = stream.depth_unit_scale_factor
    raise InputError(
        found + f"if the cameras' translations were {factor:g} times what they are: poses and depths are in different "
        f"units. Put `depth-stream --pose-scale {pose_scale * factor:g}` at the end of the command if depths of about "
        f"{median:.3g} m are right, else `--depth-unit-scale-factor {unit / factor:g}`."
    )


def _pairs(num_frames: int) -> Iterator[tuple[int, int]]:
    """Indices of a frame and a later one, 1, 2, 4, ... frames on."""
    for first in np.unique(np.linspace(0, num_frames - 2, min(_PAIRS_FROM, num_frames - 1)).astype(int)):
        gap = 1
        while first + gap < num_frames and gap <= max(1, num_frames // 2):
            yield int(first), int(first + gap)
            gap *= 2


def _agreement(stream: DepthStream, factor: float = 1.0, flipped: bool = False) -> float:
    """Share of points of some frames that later ones see within _TOLERANCE of the depth they should have.

    Args:
        factor: multiplies the translations of the cameras.
        flipped: reverse the y and z axes of the cameras.
    """
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    agreeing = total = 0
    for first, later in _pairs(len(stream)):
        depth = stream.depth(first)
        seen = (depth > 0).nonzero()
        seen = seen[:: max(1, len(seen) // _POINTS)]
        rows, columns = seen.T
        local = stream.directions(first)[rows, columns] * depth[rows, columns][:, None]
        poses = stream.poses[[first, later]].double()
        poses[:, :3, 3] *= factor
        motion = torch.linalg.solve(poses[1], poses[0])
        if flipped:
            motion = flip @ motion @ flip
        moved = local.double() @ motion[:3, :3].T + motion[:3, 3]
        away = -moved[:, 2].clamp(max=-1e-6)
        fx, fy, cx, cy = stream.intrinsics[later].tolist()
        column, row = (cx + fx * moved[:, 0] / away).floor().long(), (cy - fy * moved[:, 1] / away).floor().long()
        inside = (column >= 0) & (column < stream.width) & (row >= 0) & (row < stream.height)
        there = stream.depth(later)[row[inside], column[inside]].double()
        agreeing += int(((there - away[inside]).abs() < _TOLERANCE * away[inside]).sum())
        total += len(seen)
    return agreeing / total
