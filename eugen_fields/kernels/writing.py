"""Writes stages and encodings into the program of a kernel."""

import torch
from torch import Tensor

from eugen_fields.encodings import FrequencyEncoding, IntegratedEncoding
from eugen_fields.kernels.program import ProgramWriter, Term, Value, split_width
from eugen_fields.kernels.stages import Stage

NARROW = 16
"""Padded width of densities, colours and distances."""


def write_stage(writer: ProgramWriter, stage: Stage, f: Value, x: Value) -> Value:
    """Adds a stage that reads f (B, width) and, where it has a skip connection, x (B, in_dim); returns its value."""
    norm = None if stage.norm_column is None else _write_squared_norm(writer, stage, f, x)

    def rows(start: int, width: int, size: int) -> str:
        """Rows of the affine map with its norm column: the name of a variable (B, size), before the activation."""
        chosen = slice(start, start + width)
        z = writer.affine(_terms(stage, f, x, chosen), stage.bias[chosen], size)
        if norm is not None and stage.norm_column is not None:
            writer.line(f"{z} = {z} + norm_term({norm}, {writer.row(stage.norm_column[chosen], size)})")
        return z

    def features(expression: str, width: int, size: int) -> Value:
        return [writer.rounded(activated(stage.activation, expression), width, size)]

    if stage.products is None:
        result, start = [], 0
        for width, size in split_width(len(stage.weight), writer.piece):
            result += features(rows(start, width, size), width, size)
            start += width
        return result
    # the order of layers.eugen.product_features: G_11 x, then G_21 x * G_22 x, where G_21 is G_11 if shared
    num_features, _, shared = stage.products
    first, second, start = [], [], 0
    for width, size in split_width(num_features, writer.piece):
        single = rows(start, width, size)
        left = single if shared else rows(num_features + start, width, size)
        right = rows((1 if shared else 2) * num_features + start, width, size)
        first += features(single, width, size)
        second += features(f"{left} * {right}", width, size)
        start += width
    return first + second


def write_output(writer: ProgramWriter, stage: Stage, f: Value, x: Value) -> str:
    """Adds an affine stage of at most NARROW rows; returns the name of a float32 variable (B, NARROW)."""
    z = writer.affine(_terms(stage, f, x, slice(None)), stage.bias, NARROW)
    return writer.let("y", activated(stage.activation, z))


def _terms(stage: Stage, f: Value, x: Value, rows: slice) -> list[Term]:
    terms = [Term(f, stage.weight[rows])]
    return terms if stage.skip is None else [*terms, Term(x, stage.skip[rows])]


def activated(activation: str, expression: str) -> str:
    """The expression with an activation of ops.py around it."""
    return expression if activation == "identity" else f"{activation}({expression})"


def _write_squared_norm(writer: ProgramWriter, stage: Stage, f: Value, x: Value) -> str:
    """Adds |[x; h]|^2 of a stage's norm column; returns the name of a variable (B,)."""
    direct = ([] if stage.skip is None else x) + (f if stage.norm_weight is None else [])
    sums = [f"row_squares({piece.name})" for piece in direct]
    if stage.norm_weight is not None and stage.norm_bias is not None:
        weight, bias = stage.norm_weight, stage.norm_bias
        rows, columns = weight.shape
        triangular = rows == columns + 1 and torch.equal(weight, weight.triu())
        if triangular:  # the factor of layers.chain: its last row is the same for every point
            sums.append(f"load_scalar(vectors, {writer.vector(bias[-1:] ** 2)})")
            rows = columns
        start = 0
        for width, size in split_width(rows, writer.piece):
            chosen = slice(start, start + width)
            z = writer.affine([Term(f, weight[chosen])], bias[chosen], size, zero_columns=start if triangular else 0)
            sums.append(f"row_sum({z} * {z})")
            start += width
    return writer.let("squares", " + ".join(sums))


def encoding_table(encoding: FrequencyEncoding | IntegratedEncoding) -> tuple[Tensor, bool]:
    """The table (5, out_dim) that ops.waves reads, and whether its columns are in half turns.

    Both encodings hold the coordinates, then sines by octave and within it by direction, then as many cosines. Half
    turns times 2^k are exact, as IntegratedEncoding has them; FrequencyEncoding multiplies by 2^k pi rounded to float32
    and so must the kernel: the tenth octave turns that rounding into 1e-4.
    """
    if isinstance(encoding, IntegratedEncoding):
        columns = encoding.octaves.double()[:, None, None] * encoding.basis.double().t()
        half_turns = True
    else:
        columns = encoding.scales.double()[:, None, None] * torch.eye(
            3, dtype=torch.float64, device=encoding.scales.device
        )
        half_turns = False
    columns = columns.flatten(0, 1).t().cpu()
    points = torch.eye(3, dtype=torch.float64)
    waves = columns.shape[1]
    is_wave = torch.cat([torch.zeros(3), torch.ones(2 * waves)]).double()
    is_cosine = torch.cat([torch.zeros(3 + waves), torch.ones(waves)]).double()
    return torch.cat([torch.cat([points, columns, columns], dim=1), is_wave[None], is_cosine[None]]), half_turns
