"""Fast Walsh-Hadamard products: a Hadamard matrix of size n applied as two small matrices."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor


@functools.cache
def hadamard_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Sylvester's H_n, entries +1 and -1, shape (size, size); size a power of two. Kept: do not write into it."""
    with torch.inference_mode(False):
        matrix = torch.ones(1, 1, dtype=dtype, device=device)
        while matrix.shape[0] < size:
            matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
        return matrix


def hadamard_transform(x: Tensor) -> Tensor:
    """H_n x over the last axis, shape (..., n) to (..., n), n a power of two.

    H_n = H_a kron H_b with a b = n, so two products with matrices of about sqrt(n) columns do: O(n sqrt(n))
    multiplications. Butterflies need only O(n log n), but pass over memory log n times; in torch on a CPU they measured
    5 to 12 times slower than the two products for n = 64 to 4096.

    Raises:
        ValueError: n is not a power of two.
    """
    size = x.shape[-1]
    if size < 1 or size & (size - 1):
        raise ValueError(f"the last axis has length {size}; a Hadamard transform needs a power of two")
    a = 1 << ((size.bit_length() - 1) // 2)
    b = size // a
    inner = (x.reshape(-1, b) @ hadamard_matrix(b, x.dtype, x.device)).view(-1, a, b)
    return (hadamard_matrix(a, x.dtype, x.device) @ inner).view(x.shape)


def hadamard_product(x: Tensor, order: Tensor, signs: Tensor) -> Tensor:
    """The rows of random_matrices.hadamard_rows times x, without the matrix.

    Args:
        x: shape (..., columns).
        order, signs: of random_matrices.hadamard_parts, shapes (rows,) and (blocks, columns).

    Returns:
        shape (..., rows).
    """
    size = padded_width(x.shape[-1])
    blocks = []
    for block_signs, rows in zip(signs, order.split(size)):
        block = hadamard_transform(F.pad(x * block_signs, (0, size - x.shape[-1])))
        blocks.append(block if len(rows) == size else block.index_select(-1, rows))
    return torch.cat(blocks, dim=-1) if len(blocks) > 1 else blocks[0]


def padded_width(columns: int) -> int:
    """The power of two at or above `columns`."""
    return 1 << max(0, columns - 1).bit_length()


def fast_product_pays(rows: int, columns: int) -> bool:
    """Whether hadamard_product is faster than a dense product with the rows x columns matrix.

    Fitted to 4,096 inputs on one CPU thread (forward alone, and forward and backward): the blocks must be 512 wide or
    more, and the dense product must cost 256 multiplications or more for each number that the transform writes. At
    512x512 that is 2 to 3 times faster, at 1024x1024 4 times; at 256x256, and for padding or outputs that waste most of
    the transform (300x300, 1024 to 64), the dense product is as fast or faster.
    """
    size = padded_width(columns)
    blocks = -(-rows // size)
    return size >= 512 and rows * columns >= 256 * blocks * size
