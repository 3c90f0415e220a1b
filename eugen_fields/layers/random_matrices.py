"""Seeded random matrices that are the same on every machine, device and torch version.

torch does not promise its random streams across versions, so entries come from a small counter-based generator
(SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014) evaluated with integer
arithmetic, and normal deviates from a Box-Muller transform whose logarithm and cosine are evaluated with IEEE
additions, multiplications, divisions and square roots alone. Everything is drawn on the CPU in float64.

| kind | mean | variance | 4th moment | rows |
|---|---|---|---|---|
| gaussian | 0 | 1 | 3 | independent |
| rademacher | 0 | 1 | 1 | independent |
| ternary | 0 | 1 | 3 | independent; two thirds of the entries are 0 |
| orthogonal | 0 | 1 | 3 | mutually orthogonal in blocks of `columns` rows, with Gaussian norms (GOM) |
| hadamard | 0 | 1 | 1 | norm sqrt(columns); orthogonal in blocks of n rows where `columns` is n, a power of two |

Where `columns` = c is padded to n > c, a hadamard block is c columns of an orthogonal matrix, and its rows are not
exactly orthogonal: for two drawn ones the product has mean (n - c) / (n - 1) and mean square
c (n - c) / (n - 1), against 0 and c for independent signs. Its columns are orthogonal if all n rows are taken.

"""

import math

import torch
from torch import Tensor

from eugen_fields.layers.hadamard import hadamard_matrix, padded_width

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def _as_int64(value: int) -> int:
    """The signed 64-bit integer with the same bits as `value` modulo 2^64."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift_right(bits: Tensor, count: int) -> Tensor:
    """Logical (zero-filling) right shift of int64 bits."""
    return (bits >> count) & ((1 << (64 - count)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift_right(bits, 30)) * _as_int64(_MIX_1)
    bits = (bits ^ _shift_right(bits, 27)) * _as_int64(_MIX_2)
    return bits ^ _shift_right(bits, 31)


def uniform(count: int, seed: int, stream: int = 0) -> Tensor:
    """`count` float64 numbers in (0, 1], multiples of 2^-53, shape (count,).

    Different `stream` numbers give independent sequences for the same seed.
    """
    key = _mix(torch.tensor([_as_int64(seed)]))
    key = _mix(key + _as_int64(_GOLDEN * (stream + 1)))
    counters = key + torch.arange(1, count + 1) * _as_int64(_GOLDEN)
    return (_shift_right(_mix(counters), 11).double() + 1.0) * 2.0**-53


def _log(x: Tensor) -> Tensor:
    """Natural logarithm of positive float64 numbers from IEEE-exact operations (identical everywhere)."""
    mantissa, exponent = torch.frexp(x)
    small = mantissa < math.sqrt(0.5)
    mantissa = torch.where(small, mantissa * 2.0, mantissa)
    exponent = torch.where(small, exponent - 1, exponent).double()
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    series = torch.zeros_like(x)
    for n in range(12, -1, -1):  # atanh series; |ratio| <= 0.172, so the next term is below 1e-20
        series = series * square + 1.0 / (2 * n + 1)
    return exponent * math.log(2.0) + 2.0 * (ratio * series)


def _cos_turns(turns: Tensor) -> Tensor:
    """cos(2 pi turns) for turns in [0, 1] from IEEE-exact operations (identical everywhere)."""
    angle = (turns - 0.5) * (2.0 * math.pi)
    square = angle * angle
    series = torch.zeros_like(turns)
    for n in range(16, -1, -1):  # Taylor series on [-pi, pi]; the next term is below 1e-19
        series = series * square + (-1.0) ** n / math.factorial(2 * n)
    return -series  # cos(a + pi) = -cos(a)


def normal(count: int, seed: int, stream: int = 0) -> Tensor:
    """`count` standard normal float64 numbers, shape (count,) (Box and Muller, 1958)."""
    draws = uniform(2 * count, seed, stream)
    return torch.sqrt(-2.0 * _log(draws[:count])) * _cos_turns(draws[count:])


def gaussian(rows: int, columns: int, seed: int, stream: int = 0) -> Tensor:
    """Independent N(0, 1) entries, float64, shape (rows, columns)."""
    return normal(rows * columns, seed, stream).view(rows, columns)


def rademacher(rows: int, columns: int, seed: int, stream: int = 0) -> Tensor:
    """Independent entries +1 or -1 with probability 1/2, float64, shape (rows, columns)."""
    return torch.where(uniform(rows * columns, seed, stream) <= 0.5, -1.0, 1.0).double().view(rows, columns)


def ternary(rows: int, columns: int, seed: int, stream: int = 0) -> Tensor:
    """Independent entries in {-sqrt 3, 0, sqrt 3} with probabilities 1/6, 2/3, 1/6, float64, shape (rows, columns)."""
    draws = uniform(rows * columns, seed, stream)
    signs = (draws > 5.0 / 6.0).double() - (draws <= 1.0 / 6.0).double()
    return (math.sqrt(3.0) * signs).view(rows, columns)


def orthonormal_rows(rows: int, columns: int, seed: int, stream: int = 0) -> Tensor:
    """Stacked blocks of at most `columns` orthonormal rows, float64, shape (rows, columns).

    Each block is the Q factor of a Gaussian matrix with the signs of R's diagonal fixed (Haar distributed). LAPACK
    may differ between machines in the last bits of float64; rounded to float32 the result agrees to an ulp.
    """
    blocks = []
    for index, start in enumerate(range(0, rows, columns)):
        height = min(columns, rows - start)
        square = gaussian(columns, height, seed, stream=stream * 65_536 + index + 1)
        q, r = torch.linalg.qr(square)
        blocks.append((q * torch.sign(torch.diagonal(r))).T)
    return torch.cat(blocks)


def orthogonal(rows: int, columns: int, seed: int, stream: int = 0) -> Tensor:
    """Gaussian orthogonal matrix (GOM), float64, shape (rows, columns): each entry is N(0, 1) on its own, rows of a
    block of `columns` rows are orthogonal, and their norms are those of independent Gaussian vectors."""
    norms = gaussian(rows, columns, seed, stream=stream * 65_536).norm(dim=1, keepdim=True)
    return orthonormal_rows(rows, columns, seed, stream) * norms


def hadamard_parts(rows: int, columns: int, seed: int, stream: int = 0) -> tuple[Tensor, Tensor]:
    """What decides hadamard_rows: for every row, which row of its block's H_n it is, int64, shape (rows,), and the
    column signs of each block, float64, shape (blocks, columns)."""
    size = padded_width(columns)
    orders, signs = [], []
    for index, start in enumerate(range(0, rows, size)):
        block_stream = stream * 65_536 + 2 * index
        taken = min(size, rows - start)
        drawn = torch.argsort(uniform(size, seed, block_stream), stable=True)[:taken]
        orders.append(torch.arange(size) if taken == size else drawn)
        signs.append(rademacher(1, columns, seed, block_stream + 1))
    return torch.cat(orders), torch.cat(signs)


def hadamard_rows(rows: int, columns: int, seed: int, stream: int = 0) -> Tensor:
    """Entries +1 or -1 from Walsh-Hadamard blocks with random column signs, float64, shape (rows, columns).

    A block has n rows, n the power of two at or above `columns`; where `columns` is itself a power of two the rows of a
    block are orthogonal. Where fewer than n are wanted they are drawn; all n keep the order of H_n, as another one only
    renames what the layer computes and would cost products by factors a permutation: hadamard.hadamard_product
    multiplies faster than the entries do.
    """
    order, signs = hadamard_parts(rows, columns, seed, stream)
    size = padded_width(columns)
    matrix = hadamard_matrix(size, torch.float64, torch.device("cpu"))[order, :columns]
    return matrix * signs.repeat_interleave(size, dim=0)[:rows]


PROJECTIONS = {"gaussian": gaussian, "rademacher": rademacher, "orthogonal": orthogonal}
"""Unit-variance projections G of an EUGen layer (rows = features, columns = inputs)."""


def prp_matrix(kind: str, in_features: int, out_features: int, seed: int) -> Tensor:
    """P^T of a PRP layer, float64, shape (out_features, in_features), entries of variance 1 / in_features.

    Source: "Element-wise Modulation of Random Matrices for Efficient Neural Layers" (Szorc), arXiv 2512.13480;
    `hadamard`, and stacked blocks where out_features > in_features, are additions of this library.
    """
    shape = (out_features, in_features)
    if kind == "orthogonal":
        return orthonormal_rows(*shape, seed)
    unit_variance = {"gaussian": gaussian, "ternary": ternary, "hadamard": hadamard_rows}
    if kind not in unit_variance:
        raise ValueError(f"matrix is {kind!r}; it must be one of gaussian, ternary, orthogonal, hadamard")
    return unit_variance[kind](*shape, seed) / math.sqrt(in_features)


def draw_seed() -> int:
    """A seed from torch's global generator, so that torch.manual_seed makes whole networks repeatable."""
    return int(torch.randint(0, 2**31 - 1, ()).item())


def resolve_seed(seed: int | None) -> int:
    """`seed` itself, or a fresh one from torch's global generator where it is None. Raises ValueError if negative."""
    if seed is None:
        return draw_seed()
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be an integer of at least 0")
    return int(seed)
