"""Rows of values and tangents in kernels: written like tiles.py.

A tile (B, N) holds B / 4 points, four rows each: the value, then its derivatives along x, y and z. To a matrix product
these are rows like any others, so that a weight that is on the chip serves all four. Everything else looks at the four
rows of a point together, as a group (B / 4, 4, N). Four neighbouring rows, and no others: they belong to one warp.
"""

# pyright: basic, reportArgumentType=false, reportIndexIssue=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false, reportOptionalSubscript=false

import triton.language as tl


def grouped(rows):
    """rows (B, N) by points, float32, (B / 4, 4, N)."""
    return tl.reshape(rows.to(tl.float32), (rows.shape[0] // 4, 4, rows.shape[1]))


def ungrouped(groups):
    """The rows (B, N) of groups (B / 4, 4, N)."""
    return tl.reshape(groups, (groups.shape[0] * 4, groups.shape[2]))


def one_column(groups):
    """The rows (B,) of groups (B / 4, 4, 1)."""
    return tl.reshape(groups, (groups.shape[0] * 4,))


def is_value():
    """Which of a group's four rows is the value, (1, 4, 1)."""
    return (tl.arange(0, 4) == 0)[None, :, None]


def values_of(groups):
    """The values in groups (B / 4, 4, N), (B / 4, 1, N)."""
    return tl.reduce(tl.where(is_value(), groups, 0.0), 1, tl.standard._sum_combine)[:, None, :]


def with_tangents(values, groups):
    """Groups (B / 4, 4, N) of values (B / 4, 1, N) and the tangents of other groups."""
    return tl.where(is_value(), values, groups)


def tangent_sum(groups):
    """Sums over the three tangents, (B / 4, 1, N)."""
    return tl.reduce(tl.where(is_value(), 0.0, groups), 1, tl.standard._sum_combine)[:, None, :]


def add_to_values(groups, values):
    """Groups (B / 4, 4, N) with values (B / 4, 1, N) added to theirs."""
    return tl.where(is_value(), groups + values, groups)


def inner_products(groups):
    """Inner product of each row with the value of its group, (B / 4, 4, 1): |h|^2, and h . dh for a tangent dh."""
    return tl.reduce(values_of(groups) * groups, 2, tl.standard._sum_combine)[:, :, None]
