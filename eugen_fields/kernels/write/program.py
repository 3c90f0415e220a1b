"""Writes one kernel for one network: the source in Triton's language, and the weights in the order it reads them.

A generated kernel is a straight line for one tile of points: every weight has its own block and every intermediate its
own name. Values are split by columns into pieces of a power of two, as Triton has no slices of tensors on the chip; a
layer is a sum of block products over the pieces of its input, for each piece of its output. Sources depend on sizes
alone, not on the numbers, so that networks of one shape share a compiled kernel.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from eugen_fields.layers.hadamard import hadamard_matrix

SMALLEST_BLOCK = 16
"""Rows and columns that a matrix product on tensor cores has at the least."""
OPERANDS = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
BITS = {2: torch.int16, 4: torch.int32}
"""Integers of as many bytes as an operand."""
ROWS_OF_WAVES = 5
COMMON_ARGUMENTS = ("weights", "vectors", "count", "size_class", "BLOCK: tl.constexpr", "PER_PROCESSOR")
"""Behind a kernel's own pointers. Autotuning reads size_class, the choice of the grid PER_PROCESSOR: launch.py."""


class Piece(NamedTuple):
    """Columns of a value on the chip: the variable that holds them, how many they are, and with their padding."""

    name: str
    width: int
    padded: int


Value = list[Piece]
"""A value (B, width), as pieces whose columns follow each other; the padding of each piece is 0."""


class Term(NamedTuple):
    """One matrix product of a sum: a value and its weight (rows, width of the value)."""

    value: Value
    weight: Tensor


class Program(NamedTuple):
    """A kernel's source, and what it reads, flat: weights, blocks behind each other as bits in integers of their size,
    and vectors, float32. `rows_per_point`: of a tile."""

    source: str
    weights: Tensor
    vectors: Tensor
    rows_per_point: int = 1

    def to(self, device: torch.device) -> "Program":
        return self._replace(weights=self.weights.to(device), vectors=self.vectors.to(device))


def check_operands(dtype: torch.dtype) -> None:
    """Raises ValueError for a type that operands of matrix products cannot have."""
    if dtype not in OPERANDS:
        raise ValueError(f"dtype is {dtype}; it must be one of {', '.join(str(offered) for offered in OPERANDS)}")


def widths_of_pieces(width: int, largest: int) -> list[int]:
    """Powers of two from SMALLEST_BLOCK to `largest` that hold `width` columns, with the least padding."""
    padded = -(-width // SMALLEST_BLOCK) * SMALLEST_BLOCK
    pieces = [largest] * (padded // largest)
    rest, power = padded % largest, largest
    while rest:
        power //= 2
        if rest & power:
            pieces.append(power)
            rest -= power
    return pieces


def split_width(width: int, largest: int) -> list[tuple[int, int]]:
    """Columns and padded columns of each piece of a value of `width` columns."""
    pieces = []
    for padded in widths_of_pieces(width, largest):
        pieces.append((min(padded, width), padded))
        width -= padded
    return pieces


def padded(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """The matrix with zeros below and beside it, shape (rows, columns)."""
    result = matrix.new_zeros(rows, columns)
    result[: matrix.shape[0], : matrix.shape[1]] = matrix
    return result


class ProgramWriter:
    """Collects the lines of a tile, the weight blocks they use, and vectors.

    Args:
        dtype: of the operands: torch.float32, float16 or bfloat16. Sums are float32.
        piece: the widest piece, a power of two.
        emulated: round to bfloat16 but multiply in float32, for the interpreter, which has no bfloat16 products.
        tangents: every point has four rows, its value and three tangents, as ops/tangents.py has them.
    """

    def __init__(self, dtype: torch.dtype, piece: int = 64, emulated: bool = False, tangents: bool = False) -> None:
        self.piece = piece
        self.tangents = tangents
        self.rows_per_point = 4 if tangents else 1
        self.points = "rows // 4" if tangents else "rows"
        """Which point each row belongs to."""
        self.emulated = emulated and dtype is torch.bfloat16
        self.dtype = dtype
        self.storage = torch.float32 if self.emulated else dtype
        """Type of operands in memory."""
        self._rounding = "as_rounded_float32" if self.emulated else f"as_{OPERANDS[dtype]}"
        self._lines: list[tuple[str, int | None]] = []
        self._blocks: list[Tensor] = []
        self._loads: list[str] = []
        self._constants: dict[int, str] = {}
        self._vectors: list[Tensor] = []
        self._names = 0
        self._staged_columns = 0

    # Lines

    def name(self, prefix: str) -> str:
        """A new variable's name."""
        self._names += 1
        return f"{prefix}{self._names}"

    def line(self, text: str, block: int | None = None) -> None:
        """Adds a line, which may use a block of weights."""
        self._lines.append((text, block))

    def comment(self, text: str) -> None:
        """Adds a comment, for whoever reads the source: it says which layer begins here."""
        self.line(f"# {text}")

    def let(self, prefix: str, expression: str, block: int | None = None) -> str:
        """Assigns an expression to a new variable, and returns its name."""
        name = self.name(prefix)
        self.line(f"{name} = {expression}", block)
        return name

    # What kernels read

    def vector(self, values: Tensor) -> int:
        """Stores values, flat; returns their offset."""
        offset = sum(vector.numel() for vector in self._vectors)
        self._vectors.append(values.detach().cpu().double().flatten())
        return offset

    def row(self, values: Tensor, width: int) -> str:
        """The expression of a row (1, width) that holds values, padded with zeros."""
        return f"load_vector(vectors, {self.vector(padded(values[None, :], 1, width))}, {width})"

    def block(self, weight: Tensor, inputs: int, outputs: int) -> int:
        """Stores a block of weight (rows, columns), transposed and padded to (inputs, outputs); returns its number."""
        offset = sum(block.numel() for block in self._blocks)
        self._blocks.append(padded(weight.detach().cpu().double().t(), inputs, outputs))
        self._loads.append(f"load_block(weights, {offset}, {inputs}, {outputs})")
        return len(self._loads) - 1

    def hadamard(self, size: int) -> str:
        """The variable that holds H_size (size, size) as an operand; it is on the chip all the time."""
        if size not in self._constants:
            offset = sum(block.numel() for block in self._blocks)
            self._blocks.append(hadamard_matrix(size, torch.float64, torch.device("cpu")))
            self._constants[size] = f"load_block(weights, {offset}, {size}, {size})"
        return f"hadamard{size}"

    # Values

    def stage(self, value: Value) -> Value:
        """Notes a value that was not computed by a product: shared memory brings it into the order of an operand."""
        self._staged_columns = max(self._staged_columns, sum(piece.padded for piece in value))
        return value

    def rounded(self, expression: str, width: int, size: int) -> Piece:
        """A piece of a value from a float32 expression (B, size), of which `width` columns count."""
        if width < size:
            expression = f"keep_columns({expression}, {width}, {size})"
        return Piece(self.let("h", f"{self._rounding}({expression})"), width, size)

    def affine(self, terms: Sequence[Term], bias: Tensor | None, size: int, zero_columns: int = 0) -> str:
        """Adds the sum of all weight value + bias, float32, (B, size); returns the variable's name.

        Args:
            bias: shape (rows,), rows at most `size`; None is 0.
            zero_columns: how many leading columns of the weights hold nothing but zeros.
        """
        z = ""
        for value, weight in terms:
            start = 0
            for piece in value:
                columns = weight[:, start : start + piece.width]
                start += piece.width
                if start <= zero_columns:
                    continue
                block = self.block(columns, piece.padded, size)
                if not z:
                    z = self.let("z", f"product({piece.name}, w{block})", block)
                else:
                    self.line(f"{z} = add_product({piece.name}, w{block}, {z})", block)
        if bias is not None:
            self.line(f"{z} = {z} + {self.values_only(self.row(bias, size))}")
        return z

    def hadamard_product(self, value: Value, inner: Tensor, piece: int) -> list[str]:
        """Adds H_n (inner * value), float32, for a value as wide as n; returns the variables of its pieces (B, piece).

        H_n is H_(n / piece) kron H_piece: every piece of the value is multiplied with H_piece, and sums and differences
        of what comes out do the rest. Multiplications are n piece in place of n^2, and all of them by 1 or -1, which
        any type of operand holds exactly.
        """
        small, parts = self.hadamard(piece), []
        for columns, scales in zip(value, inner.split(piece), strict=True):
            scaled = f"{self._rounding}({columns.name}.to(tl.float32) * {self.row(scales, piece)})"
            parts.append(self.let("z", f"product({scaled}, {small})"))
        stride = 1
        while stride < len(parts):
            for low in (i for i in range(len(parts)) if not i & stride):
                left, right = parts[low], parts[low + stride]
                parts[low] = self.let("z", f"{left} + {right}")
                parts[low + stride] = self.let("z", f"{left} - {right}")
            stride *= 2
        return parts

    def values_only(self, row: str) -> str:
        """The expression of a constant row (1, N), the same for all points, whose tangents are 0."""
        return f"tl.where(is_value[:, None], {row}, 0.0)" if self.tangents else row

    def waves(self, point: Sequence[str], table: Tensor, half_turns: bool) -> Value:
        """An encoding of a point, whose three coordinates are variables, followed by those of their tangents where
        there are any: see ops.waves for its table (5, width)."""
        operation = "waves_with_tangents" if self.tangents else "waves"
        pieces, start = [], 0
        for width, size in split_width(table.shape[1], self.piece):
            offset = self.vector(padded(table[:, start : start + width], ROWS_OF_WAVES, size))
            start += width
            columns = f"{operation}({', '.join(point)}, vectors, {offset}, {size}, {half_turns})"
            pieces.append(self.rounded(columns, width, size))
        return self.stage(pieces)

    # The result

    def weight_bytes(self) -> int:
        """What all blocks take on the chip."""
        return sum(block.numel() for block in self._blocks) * self.dtype.itemsize

    def staged_bytes(self, rows: int) -> int:
        """What the widest value that passes through shared memory takes there in a tile of so many rows."""
        return rows * self._staged_columns * self.dtype.itemsize

    def program(self, name: str, arguments: Sequence[str], *, resident: bool, ahead: int = 2) -> Program:
        """The finished kernel.

        Args:
            name: of the kernel.
            arguments: pointers besides weights and vectors.
            resident: weights are loaded once and stay on the chip; otherwise every tile streams them from cache.
            ahead: how many blocks a streamed load runs ahead of its use.
        """
        # A block goes to shared memory where its bits become numbers, so loads that run ahead wait in registers: Triton
        # moves what it knows to be an operand there at once, and waits for it.
        body, issued = [], 0
        operands = f"tl.{OPERANDS[self.storage]}"
        head = [f"hadamard{n} = {load}.to({operands}, bitcast=True)" for n, load in self._constants.items()]
        if resident:
            head += [f"w{i} = {load}.to({operands}, bitcast=True)" for i, load in enumerate(self._loads)]
        for text, block in self._lines:
            if block is not None and not resident:
                while issued <= min(block + ahead, len(self._loads) - 1):
                    body.append(f"r{issued} = {self._loads[issued]}")
                    issued += 1
                body.append(f"w{block} = r{block}.to({operands}, bitcast=True)")
            body.append(text)
        # Programs take every n-th tile. Hoisted out of the loop, the addresses of all vectors would fill the registers.
        first, step = "tl.program_id(0) * BLOCK", "tl.num_programs(0) * BLOCK"
        source = [
            f"def {name}({', '.join((*arguments, *COMMON_ARGUMENTS))}):",
            *(f"    {text}" for text in head),
            f"    for start in tl.range({first}, count, {step}, disable_licm=True):",
            "        rows = start + tl.arange(0, BLOCK)",
            "        valid = rows < count",
            *(["        is_value = rows % 4 == 0"] if self.tangents else []),
            *(f"        {text}" for text in body),
        ]
        weights, vectors = self.bits(self.packed_weights()), self.packed_vectors().float()
        return Program("\n".join(source) + "\n", weights, vectors, self.rows_per_point)

    def packed_weights(self) -> Tensor:
        """All blocks behind each other, float64; one 0 if there are none."""
        return torch.cat([block.flatten() for block in self._blocks] or [torch.zeros(1, dtype=torch.float64)])

    def packed_vectors(self) -> Tensor:
        """All vectors behind each other, float64; one 0 if there are none."""
        return torch.cat(self._vectors or [torch.zeros(1, dtype=torch.float64)])

    def bits(self, weights: Tensor) -> Tensor:
        """Weights as kernels read them: rounded, as integers of the operands' size."""
        return weights.to(self.dtype).to(self.storage).view(BITS[self.storage.itemsize])
