"""Slips of units, axes and directions in depth streams, recognised before anything is trained."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from eugen_fields.data.depth.depth_agreement import UNITS, USUAL_DEPTH, Agreement, Reading
from eugen_fields.data.depth.depth_streams import DepthStream
from eugen_fields.errors import InputError

LIKELY_DEPTH = (0.02, 100.0)
"""Range of the median depth of a stream, metres."""
_FINE = 0.01
"""Mean relative difference of the depths of frames below which nothing else is tried: no sensor is better."""
_BETTER = 0.5
"""Share of the difference that another reading may leave at most to be believed."""
_AGREED = 0.08
"""Difference above which frames do not agree, whatever is better than something."""
_POOR = 0.04
"""Difference from which a stream that nothing mends gets a warning."""


@dataclass(frozen=True)
class Units:
    """How a recording was read."""

    source: Path
    """The file that lists the frames."""
    depth: float
    """Metres per unit of depth."""
    pose: float
    """Metres per unit of the poses."""
    axes: str
    """Axes of the cameras in the file: opengl or opencv."""
    along: Literal["axis", "ray"]
    inverted: bool


def check_units(read: Units, stream: DepthStream, medians: np.ndarray) -> None:
    """Checks that the median depth is one that a camera can see, and that frames see the same where they look at the
    same places; if not, whether they would, were the recording read otherwise.

    Args:
        read: how it was read.
        stream: what was read, its frames in order, without a limit on depths.
        medians: median depth of each frame, shape (frames,), metres; NaN where it has none.

    Raises:
        InputError: naming what was found and the flags with which frames agree, or with which depths are likely.
    """
    if np.isnan(medians).all():
        return
    median = float(np.nanmedian(medians))
    likely = LIKELY_DEPTH[0] <= median <= LIKELY_DEPTH[1]
    agreement = Agreement(stream, read.axes, read.along) if len(stream) > 1 else None
    now = agreement.now() if agreement is not None else math.inf
    if likely and (agreement is None or now <= _FINE):
        return
    if agreement is not None:
        reading, best = agreement.best(median, read.depth, read.pose)
        flags = _flags(read, reading)
        # frames that see nothing in common may be right: then only what agrees as well as sensors do is believed
        limit = _AGREED if now < math.inf else 2 * _FINE
        believed = best < limit and (not likely or (best < _BETTER * now and now - best > _FINE))
        if believed and (flags or reading.focal != 1.0):
            found = _differ(now)
            if not likely:
                found = f"the median depth is {median:.3g} m, too {'near' if median < 1 else 'far'} for a depth camera"
            cure = f"Put `depth-stream {' '.join(flags)}` at the end of the command."
            if not flags:
                cure = "The intrinsics are of another camera, or of images of another size: correct them."
            raise InputError(
                f"{read.source}: {found}. Depths would differ by {best:.1%} where frames see the same, if "
                f"{_reasons(read, reading)}. {cure}"
            )
    if not likely:
        _refuse_median(read, median)
    if _POOR < now < math.inf:
        warnings.warn(
            f"{read.source}: {_differ(now)}, and no common unit, axis or direction of depth mends that. Intrinsics "
            "may be of another size, or poses wrong or of other images.",
            stacklevel=3,
        )


def _differ(difference: float) -> str:
    if difference == math.inf:
        return "frames see hardly anything that others see too, as depths and poses are read"
    return f"where frames see the same places, their depths differ by {difference:.1%} on average"


def _reasons(read: Units, reading: Reading) -> str:
    """How the recording would have to be, in words."""
    said = []
    if not math.isclose(reading.unit / reading.pose, 1.0):
        said.append("poses and depths are in different units")
    elif reading.unit != 1.0:
        said.append("poses and depths are in other units")
    if reading.along != read.along:
        kinds = {"axis": "along the cameras' axes", "ray": "along rays"}
        said.append(f"depth is measured {kinds[reading.along]}, not {kinds[read.along]}")
    if reading.other_axes:
        said.append("the cameras' y and z axes point the other way")
    if reading.inverted:
        said.append("the poses are world-to-camera matrices")
    if reading.focal != 1.0:
        said.append(f"the focal lengths were about {reading.focal:.3g} times what they are")
    return " and ".join(said)


def _flags(read: Units, reading: Reading) -> list[str]:
    """The flags that make a recording be read that way; none where it is read that way now."""
    flags = []
    if not math.isclose(reading.unit, 1.0):
        flags.append(f"--depth-unit-scale-factor {read.depth * reading.unit:.6g}")
    if not math.isclose(reading.pose, 1.0):
        flags.append(f"--pose-scale {read.pose * reading.pose:.6g}")
    if reading.along != read.along:
        flags.append(f"--depth-along {reading.along}")
    if reading.other_axes:
        flags.append(f"--camera-axes {'opengl' if read.axes == 'opencv' else 'opencv'}")
    if reading.inverted:
        flags.append(f"--inverted-poses {not read.inverted}")
    return flags


def _refuse_median(read: Units, median: float) -> None:
    units = median / read.depth
    likely = [value for value in UNITS if USUAL_DEPTH[0] <= units * value <= USUAL_DEPTH[1]]
    better = likely[0] if likely else 1.0 / units
    raise InputError(
        f"{read.source}: the median depth is {median:.3g} m with {read.depth:g} metres per unit, too "
        f"{'near' if median < 1 else 'far'} for a depth camera. Put "
        f"`depth-stream --depth-unit-scale-factor {better:.3g}` at the end of the command if {units:.4g} units are "
        f"{units * better:.3g} m."
    )
