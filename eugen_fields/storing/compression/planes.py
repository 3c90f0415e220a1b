"""Feature planes to integers of which most are 0.

Most entries of planes are never read: nothing is visible where they are. Others matter so little that the bytes which
they take are better spent elsewhere. So every entry gets the integer with the least F (v - s q)^2 + rate * bits(q): v
is its value without the offset of its plane, s the step, F how much it matters, bits(q) what an entropy coder takes for
q by how often it occurs, and `rate` what the theory of allocation.py pays for a bit.

Source: "Rate-distortion optimization for video compression" (Sullivan and Wiegand, IEEE Signal Processing Magazine,
1998), for the choice of coefficients by a Lagrangian.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from eugen_fields.storing.compression.numbers import coarse
from eugen_fields.storing.planes import RoundedPlanes

_LARGEST = 127
_ROUNDS = 3
"""Of choosing integers and counting how often they occur."""
_BIT_RATE = 2.0 * math.log(2.0) / 12.0
"""What a bit is worth, in squares of the fineness: the slope of the error D^2 / 12 of a rounding step D against the
bits log2(1 / D) that it takes."""
_UNSEEN = 0.3
"""Times that an integer is taken to occur beside those that are counted."""
_STEP_BITS = 1


def spread_matter(matter: Tensor) -> Tensor:
    """How much entries (3, channels, R, R) matter, as a mean over each and its neighbours: rays that are looked at miss
    some entries which others read."""
    return F.avg_pool2d(matter, 3, stride=1, padding=1, count_include_pad=False)


def allocated_planes(planes: Tensor, matter: Tensor, fineness: float) -> RoundedPlanes:
    """Planes (3, channels, R, R) rounded as finely as entries matter.

    Args:
        matter: F of each entry, by which the mean loss grows for the square of a small change, shape as of the planes.
        fineness: as in allocation.py.
    """
    offsets = _offsets(planes, matter)
    away = planes - offsets[..., None, None]
    typical = matter.sum(dim=(2, 3)) / (matter > 0).sum(dim=(2, 3)).clamp(min=1)
    steps = coarse(fineness * typical.clamp(min=1e-30).rsqrt(), _STEP_BITS)
    least = (away.abs() * (matter > 0)).amax(dim=(2, 3)) / _LARGEST
    scales = torch.maximum(steps, coarse(least.clamp(min=1e-30), _STEP_BITS, up=True))
    values = away / scales[..., None, None]
    costs = matter * scales.square()[..., None, None]
    nearest = values.round().clamp(-_LARGEST, _LARGEST) * (matter > 0)
    rate, chosen = _BIT_RATE * fineness**2, nearest
    for _ in range(_ROUNDS):
        chosen = _cheapest(values, nearest, costs, rate * _bits(chosen))
    return RoundedPlanes(chosen.to(torch.int8), scales, offsets)


def _cheapest(values: Tensor, nearest: Tensor, costs: Tensor, prices: Tensor) -> Tensor:
    """The cheapest integer for each entry: the nearest one, one of the two that follow it towards 0, or 0. `prices` are
    those of the integers from -_LARGEST on."""
    best, least = nearest, torch.full_like(values, torch.inf)
    sign = nearest.sign()
    for candidate in (nearest, nearest - sign, nearest - 2.0 * sign * (nearest.abs() > 1), torch.zeros_like(nearest)):
        cost = costs * (values - candidate).square() + prices[candidate.long() + _LARGEST]
        best = torch.where(cost < least, candidate, best)
        least = torch.minimum(least, cost)
    return best


def _bits(integers: Tensor) -> Tensor:
    """What each integer from -_LARGEST on takes in an ideal code for these, shape (2 _LARGEST + 1,)."""
    counts = torch.bincount(integers.flatten().long() + _LARGEST, minlength=2 * _LARGEST + 1).double() + _UNSEEN
    return (-(counts / counts.sum()).log2()).float()


def planes_of_bits(planes: Tensor, matter: Tensor, bits: int) -> RoundedPlanes:
    """Planes (3, channels, R, R) in integers of so many bits, which span what entries that matter have; all others
    have one value.

    Args:
        matter: as in allocated_planes.
    """
    largest = (1 << (bits - 1)) - 1
    is_read = matter > 0
    highest = torch.where(is_read, planes, -torch.inf).amax(dim=(2, 3))
    lowest = torch.where(is_read, planes, torch.inf).amin(dim=(2, 3))
    any_read = is_read.any(dim=3).any(dim=2)
    means = _offsets(planes, matter)
    middle = torch.where(any_read, (highest + lowest) / 2, means).half().float()
    reach = torch.where(any_read, torch.maximum(highest - middle, middle - lowest), torch.zeros_like(means))
    scales = (reach / largest).clamp(min=2.0**-24).half().float()
    filled = torch.where(is_read, planes, means[..., None, None])
    integers = ((filled - middle[..., None, None]) / scales[..., None, None]).round().clamp(-largest, largest)
    return RoundedPlanes(integers.to(torch.int8), scales, middle)


def _offsets(planes: Tensor, matter: Tensor) -> Tensor:
    """Means over each plane (3, channels), weighed by how much entries matter, as float16 has them."""
    total = matter.sum(dim=(2, 3))
    weighed = (matter * planes).sum(dim=(2, 3)) / total.clamp(min=1e-30)
    return torch.where(total > 1e-30, weighed, planes.mean(dim=(2, 3))).half().float()
