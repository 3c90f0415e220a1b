"""Whole fields written into programs: from points, and directions, to density and colour, or to signed distance."""

from typing import NamedTuple

import torch
from torch import Tensor

from eugen_fields.encodings import FrequencyEncoding, IntegratedEncoding
from eugen_fields.kernels.stages.stage import INPUT, Stage, affine_stage
from eugen_fields.kernels.write.forward import (
    NARROW,
    described,
    encoding_table,
    side_by_side,
    write_output,
    write_stage,
)
from eugen_fields.kernels.write.program import ProgramWriter, Value

WIDEST_KEPT = 128
"""Width up to which an encoding stays in registers for its skip connections. Those of a wider one would be spilled to
memory, and it is computed again instead."""
Encoding = FrequencyEncoding | IntegratedEncoding


class Frame(NamedTuple):
    """What an encoding of points reads: (point - center) / size, or (point - center) * size. Shapes (3,)."""

    center: Tensor
    size: Tensor
    divides: bool


class RadianceNetwork(NamedTuple):
    """The parts of a field of density and colour: a trunk whose outputs are raw density, then features; and a head that
    reads [features; encoded direction] and ends in colours."""

    position_encoding: Encoding
    frame: Frame
    trunk: list[Stage]
    initial_density: float
    direction_encoding: Encoding
    color_head: list[Stage]


class DistanceNetwork(NamedTuple):
    """The parts of a field of signed distance: output_scale times the one output of its trunk."""

    position_encoding: Encoding
    frame: Frame
    trunk: list[Stage]
    output_scale: float


def write_distance(writer: ProgramWriter, network: DistanceNetwork) -> tuple[str, ...]:
    """Adds points -> distance; returns the pointers: points (count, 3), distance (count,), or (count, 4) where the
    writer has tangents: followed by its gradient."""
    f, u = _write_trunk(writer, network.trunk, network.position_encoding, network.frame)
    last = network.trunk[-1]
    writer.comment(f"distance: {described(last)}, times the output scale")
    scale = network.output_scale
    skip = None if last.skip is None else scale * last.skip
    y = write_output(writer, affine_stage(scale * last.weight, scale * last.bias, skip), f, u)
    writer.line(f"store_columns(distance, {y}, rows, valid, 1, 0, 1, {NARROW})")
    return "points", "distance"


def write_density(writer: ProgramWriter, network: RadianceNetwork) -> tuple[str, ...]:
    """Adds points -> density; returns the pointers: points (count, 3), density (count,)."""
    f, u = _write_trunk(writer, network.trunk, network.position_encoding, network.frame)
    _write_density_output(writer, network, f, u)
    return "points", "density"


def write_radiance(writer: ProgramWriter, network: RadianceNetwork) -> tuple[str, ...]:
    """Adds points, directions -> density, colour; returns the pointers: points (count, 3), directions (count, 3),
    density (count,), color (count, 3)."""
    f, u = _write_trunk(writer, network.trunk, network.position_encoding, network.frame)
    _write_density_output(writer, network, f, u)
    first, *hidden, last = network.color_head
    features = _rows(network.trunk[-1], slice(1, None))
    merged = _merged_head(features, first)
    if merged is None:
        writer.comment(f"features: {described(features)}")
        f, merged = write_stage(writer, features, f, u), first
    writer.comment(f"encoding of the direction: 3 -> {network.direction_encoding.out_dim}")
    h = f + write_points(writer, "directions", network.direction_encoding, None)
    for index, stage in enumerate((merged, *hidden)):
        writer.comment(f"colour head, stage {index}: {described(stage)}")
        h = write_stage(writer, stage, h, u)
    writer.comment(f"colour: {described(last)}")
    y = write_output(writer, last, h, u)
    writer.line(f"store_columns(color, {y}, rows, valid, 3, 0, 3, {NARROW})")
    return "points", "directions", "density", "color"


def write_points(writer: ProgramWriter, argument: str, encoding: Encoding, frame: Frame | None) -> Value:
    """Adds the encoding of points (count, 3) in a pointer argument, of directions without a frame."""
    names, tangents = [], []
    for axis in range(3):
        name, rate = writer.let("u", f"load_column({argument}, {writer.points}, valid, {axis})"), "1.0"
        if frame is not None:
            center, size = (
                f"load_scalar(vectors, {writer.vector(values[axis])})" for values in (frame.center, frame.size)
            )
            writer.line(f"{name} = {name} - {center}")
            writer.line(f"{name} = tl.div_rn({name}, {size})" if frame.divides else f"{name} = {name} * {size}")
            rate = f"1.0 / {size}" if frame.divides else size
        names.append(name)
        if writer.tangents:
            tangents.append(writer.let("du", f"tl.where(rows % 4 == {axis + 1}, {rate}, 0.0)[:, None]"))
    table, half_turns = encoding_table(encoding)
    return writer.waves(names + tangents, table, half_turns)


def _write_trunk(writer: ProgramWriter, trunk: list[Stage], encoding: Encoding, frame: Frame) -> tuple[Value, Value]:
    """Adds all but the last stage of a trunk; returns what that reads: f and, with a skip connection, u."""
    writer.comment(f"encoding of the position: 3 -> {encoding.out_dim}")
    f = x = write_points(writer, "points", encoding, frame)
    again = encoding.out_dim > WIDEST_KEPT
    values: list[Value] = []
    for index, stage in enumerate(trunk):
        if again and index > 0 and stage.skip is not None and INPUT in stage.beside:
            writer.comment("encoding of the position, again")
            x = write_points(writer, "points", encoding, frame)
        if index < len(trunk) - 1:
            writer.comment(f"trunk, stage {index}: {described(stage)}")
            f = write_stage(writer, stage, f, side_by_side(stage, x, values))
            values.append(f)
    return f, side_by_side(trunk[-1], x, values)


def _write_density_output(writer: ProgramWriter, network: RadianceNetwork, f: Value, u: Value) -> None:
    output = _rows(network.trunk[-1], slice(0, 1))
    writer.comment(f"density: {described(output)}, then the exponential")
    y = write_output(writer, output, f, u)
    initial = f"load_scalar(vectors, {writer.vector(torch.tensor(network.initial_density))})"
    writer.line(f"store_columns(density, {initial} * tl.exp({y}), rows, valid, 1, 0, 1, {NARROW})")


def _rows(stage: Stage, rows: slice) -> Stage:
    """Some of the outputs of an affine stage."""
    skip = None if stage.skip is None else stage.skip[rows]
    return affine_stage(stage.weight[rows], stage.bias[rows], skip)._replace(beside=stage.beside)


def _merged_head(features: Stage, first: Stage) -> Stage | None:
    """The first stage of the colour head read from what the features are computed from, None if that costs more.

    Between the trunk's last layer and the head there is no activation: two linear maps fold into one, as in Remark IV
    of "EUGens" (arXiv 2410.09771).
    """
    count = len(features.weight)
    width = features.weight.shape[1] + (0 if features.skip is None else features.skip.shape[1])
    head, directions = first.weight[:, :count], first.weight[:, count:]
    if len(head) * width > count * (width + len(head)):
        return None
    weight = torch.cat([head @ features.weight, directions], dim=1)
    skip = None if features.skip is None else head @ features.skip
    merged = affine_stage(weight, first.bias + head @ features.bias, skip, first.activation)
    return merged._replace(beside=features.beside)
