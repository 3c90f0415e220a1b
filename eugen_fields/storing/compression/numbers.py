"""The numbers of a field's folded networks, and of its planes, by the names that they have in field files."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from eugen_fields.encodings.planes import FixedPlanes
from eugen_fields.fields import SDFField
from eugen_fields.storing.loading import StoredRadianceField

StoredNetwork = StoredRadianceField | SDFField


def place_of(field: StoredNetwork, name: str) -> tuple[nn.Module, str]:
    """The stage, or the planes, that have the numbers of a name, and their attribute."""
    network, index, *rest = name.split(".", 2)
    if not rest:
        planes = getattr(field.position_encoding, network)
        assert isinstance(planes, FixedPlanes)
        return planes, index
    (entry,) = rest
    return getattr(field, network).stages[int(index)], entry.replace("weight.", "weight_")


def get_numbers(field: StoredNetwork, name: str) -> Tensor:
    module, entry = place_of(field, name)
    return getattr(module, entry)


def set_numbers(field: StoredNetwork, numbers: Mapping[str, Tensor]) -> None:
    """Puts numbers in their places; they may be parts of a graph."""
    for name, value in numbers.items():
        setattr(*place_of(field, name), value)


def coarse(values: Tensor, mantissa_bits: int, *, up: bool = False) -> Tensor:
    """Positive numbers rounded (up, if asked for) to so many bits behind the first, as float16 can hold them: zero
    bytes take no space in a file."""
    mantissa, exponent = torch.frexp(values.double())
    unit = 2.0 ** -(mantissa_bits + 1)
    rounded = (torch.ceil(mantissa / unit) if up else torch.round(mantissa / unit)) * unit
    return torch.ldexp(rounded, exponent).clamp(2.0**-24, 65504.0).float()


def storable(vector: Tensor) -> Tensor:
    """A vector as a field file has it: in float16, or in float32 where float16 has no such numbers."""
    return vector.half().float() if float(vector.abs().max()) <= torch.finfo(torch.float16).max else vector.float()
