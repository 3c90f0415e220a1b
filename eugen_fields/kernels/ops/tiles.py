"""What generated kernels call, written in Triton's language.

Nothing here is decorated: run/launch.py loads the files of this folder twice, once for Triton's compiler and
once for its interpreter, so that both can be used in one process whenever and wherever triton was imported first. Only
tl's own primitives are used, no functions of its library (tl.sum, tl.sigmoid, ..): those are bound to one of the two
when triton is imported. For the same reason the files do not import each other.
Shapes: B points, K inputs and N outputs of a block, all powers of two.
"""

# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportOptionalSubscript=false, reportGeneralTypeIssues=false

import triton.language as tl


def load_block(weights, OFFSET: tl.constexpr, K: tl.constexpr, N: tl.constexpr):
    """One block of weights as bits, shape (K, N)."""
    return tl.load(weights + OFFSET + tl.arange(0, K)[:, None] * N + tl.arange(0, N)[None, :])


def load_vector(vectors, OFFSET: tl.constexpr, N: tl.constexpr):
    """N float32 values as a row, shape (1, N)."""
    return tl.load(vectors + OFFSET + tl.arange(0, N))[None, :]


def load_scalar(vectors, OFFSET: tl.constexpr):
    return tl.load(vectors + OFFSET)


def load_column(matrix, rows, valid, COLUMN: tl.constexpr):
    """One coordinate of points (count, 3), shape (B, 1); 0 in rows past the end."""
    return tl.load(matrix + rows * 3 + COLUMN, mask=valid, other=0.0)[:, None]


def load_columns(matrix, rows, valid, STRIDE: tl.constexpr, START: tl.constexpr, WIDTH: tl.constexpr, N: tl.constexpr):
    """WIDTH columns from START of a matrix (count, STRIDE), with zeros behind them and in rows past the end, (B, N)."""
    columns = tl.arange(0, N)[None, :]
    kept = valid[:, None] & (columns < WIDTH)
    return tl.load(matrix + rows[:, None] * STRIDE + START + columns, mask=kept, other=0.0)


def store_columns(
    matrix, values, rows, valid, STRIDE: tl.constexpr, START: tl.constexpr, WIDTH: tl.constexpr, N: tl.constexpr
):
    """The first WIDTH of N columns of values (B, N) into a matrix (count, STRIDE), from its column START on."""
    columns = tl.arange(0, N)[None, :]
    kept = valid[:, None] & (columns < WIDTH)
    tl.store(matrix + rows[:, None] * STRIDE + START + columns, values, mask=kept)


def store_scalars(matrix, values, rows, valid, STRIDE: tl.constexpr, COLUMN: tl.constexpr):
    """One number a row, values (B,), into a column of a matrix (count, STRIDE)."""
    tl.store(matrix + rows * STRIDE + COLUMN, values, mask=valid)


def product(h, weights):
    """h (B, K) times weights (K, N), accumulated in float32. On tensor cores float32 takes three products of tf32, an
    operand's upper half and what is left of it: about as exact as float32, which would compile for minutes."""
    return tl.dot(h, weights, input_precision="tf32x3")


def add_product(h, weights, z):
    """z (B, N) plus h (B, K) times weights (K, N)."""
    return tl.dot(h, weights, z, input_precision="tf32x3")


def row_sum(values):
    """Sums of the rows of values (B, N), shape (B,)."""
    return tl.reduce(values, 1, tl.standard._sum_combine)


def row_squares(h):
    """Sums of the squares of the rows of h (B, N), float32, shape (B,)."""
    wide = h.to(tl.float32)
    return row_sum(wide * wide)


def safe_norm(squares):
    """sqrt(squares + 1e-12), the norm of layers.activations.safe_norm from squared norms (B,)."""
    return tl.sqrt_rn(squares + 1e-12)


def outer(scalars, columns):
    """Scalars (B,) times columns (1, N) or (B, N)."""
    return scalars[:, None] * columns


def keep_columns(values, WIDTH: tl.constexpr, N: tl.constexpr):
    """values (B, N) with the padding behind WIDTH columns set to 0, whatever was computed there."""
    return tl.where(tl.arange(0, N)[None, :] < WIDTH, values, 0.0)


# Rounding to the operands' type


def as_float32(values):
    return values


def as_float16(values):
    return values.to(tl.float16)


def as_bfloat16(values):
    return values.to(tl.bfloat16)


def as_rounded_float32(values):
    """Rounded to the nearest bfloat16, ties to even, but kept in float32: the interpreter cannot multiply bfloat16."""
    bits = values.to(tl.int32, bitcast=True)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
    return tl.where(values == values, rounded.to(tl.float32, bitcast=True), values)


# Encodings


def small_sine(s):
    """sin(s) for |s| <= pi / 2, to 6e-8: the Taylor polynomial of degree 11."""
    q = s * s
    p = 1.0 / 362880.0 + q * (-1.0 / 39916800.0)
    p = -1.0 / 5040.0 + q * p
    p = 1.0 / 120.0 + q * p
    p = -1.0 / 6.0 + q * p
    return s + s * q * p


def phases(u, v, w, vectors, OFFSET: tl.constexpr, N: tl.constexpr):
    """a u + b v + c w for u, v, w (B, 1) and the first three rows of a table, (B, N)."""
    t = u * load_vector(vectors, OFFSET, N)
    t = t + v * load_vector(vectors, OFFSET + N, N)
    return t + w * load_vector(vectors, OFFSET + 2 * N, N)


def wave(t, is_cosine, HALF_TURNS: tl.constexpr):
    """sin t, or cos t where is_cosine, for t (B, N).

    With HALF_TURNS t is in units of pi. Otherwise it is in radians and rounded as the torch encoding rounds it; three
    parts of pi take whole half turns off exactly (Cody and Waite, 1980).
    """
    if HALF_TURNS:
        turns = tl.floor(t + 0.5)
        s = 3.141592653589793 * (t - turns)
    else:
        turns = tl.floor(t * 0.3183098861837907 + 0.5)
        s = t - turns * 3.140625
        s = s - turns * 9.67502593994140625e-4
        s = s - turns * 1.509957990978376432e-7
    # beyond 2^24 half turns s is noise: keep it where the polynomial is bounded
    s = tl.clamp(s, -1.5707964, 1.5707964, propagate_nan=tl.PropagateNan.ALL)
    s = tl.where(is_cosine, 1.5707963267948966 - tl.abs(s), s)
    odd = turns - 2.0 * tl.floor(0.5 * turns)
    return small_sine(s) * (1.0 - 2.0 * odd)


def waves(u, v, w, vectors, OFFSET: tl.constexpr, N: tl.constexpr, HALF_TURNS: tl.constexpr):
    """N columns of an encoding of points (u, v, w), each (B, 1): a column is t, sin t or cos t of t = a u + b v + c w.

    The table of five rows of N in `vectors` holds a, b, c, 1 where the column is a wave, 1 where that is a cosine.
    """
    t = phases(u, v, w, vectors, OFFSET, N)
    is_wave = load_vector(vectors, OFFSET + 3 * N, N) > 0.5
    is_cosine = load_vector(vectors, OFFSET + 4 * N, N) > 0.5
    return tl.where(is_wave, wave(t, is_cosine, HALF_TURNS), t)


def waves_with_tangents(u, v, w, du, dv, dw, vectors, OFFSET: tl.constexpr, N: tl.constexpr, HALF_TURNS: tl.constexpr):
    """N columns of an encoding, as in `waves`, for rows as in tangents.py: a point has four, which share u, v, w, whose
    derivatives are du, dv, dw.

    The derivative of a sine is a cosine times that of t, the derivative of a cosine minus a sine.
    """
    t = phases(u, v, w, vectors, OFFSET, N)
    rate = phases(du, dv, dw, vectors, OFFSET, N)
    is_wave = load_vector(vectors, OFFSET + 3 * N, N) > 0.5
    is_cosine = load_vector(vectors, OFFSET + 4 * N, N) > 0.5
    is_tangent = (tl.arange(0, u.shape[0]) % 4 > 0)[:, None]
    if HALF_TURNS:
        rate = tl.where(is_wave, 3.141592653589793 * rate, rate)
    rate = tl.where(is_cosine, -rate, rate)
    h = tl.where(is_wave, wave(t, is_cosine != is_tangent, HALF_TURNS), tl.where(is_tangent, 1.0, t))
    return tl.where(is_tangent, rate * h, h)


# Training


def weight_gradient(
    gradients,
    values,
    tiles,
    partials,
    count,
    rows_per_split,
    GRADIENT_STRIDE: tl.constexpr,
    VALUE_STRIDE: tl.constexpr,
    SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Tiles (SIZE, SIZE) of gradients^T values, summed over one stretch of the rows each: a kernel of its own.

    Program (tile, split) reads the tile's first columns in the matrices `gradients` and `values`, (count, stride), from
    `tiles` (tiles, 2), and writes into `partials` (splits, tiles, SIZE, SIZE), float32. First columns and strides are
    multiples of 16, so that rows are read 16 bytes at a time.
    """
    tile = tl.program_id(0)
    split = tl.program_id(1)
    columns = tl.arange(0, SIZE)
    left = gradients + tl.multiple_of(tl.load(tiles + 2 * tile), 16) + columns[:, None]
    right = values + tl.multiple_of(tl.load(tiles + 2 * tile + 1), 16) + columns[None, :]
    end = tl.minimum((split + 1) * rows_per_split, count)
    total = tl.full((SIZE, SIZE), 0.0, tl.float32)
    for start in tl.range(split * rows_per_split, end, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        valid = rows < end
        g = tl.load(left + rows[None, :] * GRADIENT_STRIDE, mask=valid[None, :], other=0.0)
        h = tl.load(right + rows[:, None] * VALUE_STRIDE, mask=valid[:, None], other=0.0)
        total = tl.dot(g, h, total, input_precision="tf32x3")
    place = (split * tl.num_programs(0) + tile) * SIZE * SIZE
    tl.store(partials + place + columns[:, None] * SIZE + columns[None, :], total)
