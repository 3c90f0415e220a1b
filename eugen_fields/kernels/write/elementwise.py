"""What stages do to rows besides matrix products, written for values, or for values with their tangents.

Variables and expressions are (B, N) float32 unless said otherwise. With tangents (ProgramWriter.tangents) four rows are
one point's value and its derivatives along x, y and z, and each function here carries all four through: forward-mode
differentiation, chapter 3 of "Evaluating Derivatives" (Griewank and Walther, 2008).
"""

from collections.abc import Sequence

from eugen_fields.kernels.write.program import ProgramWriter


def activated(writer: ProgramWriter, activation: str, z: str) -> str:
    """The expression of activation(z), and of tangents times the activation's slope at z."""
    if activation == "identity":
        return z
    if not writer.tangents:
        return f"{activation}({z})"
    z, value = _grouped(writer, z)
    return f"ungrouped(with_tangents({activation}({value}), {activation}_tangent({z}, {value})))"


def multiplied(writer: ProgramWriter, left: str, right: str) -> str:
    """The expression of left times right."""
    if not writer.tangents:
        return f"{left} * {right}"
    left, left_value = _grouped(writer, left)
    right, right_value = _grouped(writer, right)
    tangents = f"{left_value} * {right} + {left} * {right_value}"
    return f"ungrouped(with_tangents({left_value} * {right_value}, {tangents}))"


def norm(writer: ProgramWriter, columns: Sequence[str], constant: str | None) -> str:
    """Adds the safe norm of columns side by side, variables, where `constant` is the square of a further column that is
    the same for all points; returns the name of a variable (B,). A tangent is d|h| = h . dh / |h|."""
    if not writer.tangents:
        sums = [f"row_squares({name})" for name in columns] + ([] if constant is None else [constant])
        return writer.let("norm", f"safe_norm({' + '.join(sums)})")
    sums = " + ".join(f"inner_products(grouped({name}))" for name in columns)
    products = writer.let("squares", sums if constant is None else f"add_to_values({sums}, {constant})")
    value = writer.let("length", f"safe_norm(values_of({products}))")
    return writer.let("norm", f"one_column(with_tangents({value}, {products} / {value}))")


def activation_gradient(writer: ProgramWriter, activation: str, gradient: str, value: str) -> str:
    """The expression of the gradient before an activation, from that behind it and the activation's value h.

    A tangent dh = a'(z) dz passes a'(z) g on to dz, and a''(z) dz g = (a'' / a') dh g to z itself.
    """
    if activation == "identity":
        return gradient
    if not writer.tangents:
        return f"{activation}_gradient({gradient}, {value})"
    gradient = writer.let("t", f"grouped({gradient})")
    rows, value = _grouped(writer, value)
    through = f"{activation}_gradient({gradient}, {value})"
    if activation != "relu":
        through = f"add_to_values({through}, {activation}_bend({value}) * tangent_sum({rows} * {gradient}))"
    return f"ungrouped({through})"


def multiplied_gradient(writer: ProgramWriter, gradient: str, factor: str) -> str:
    """The expression of the gradient of one factor, from that of a product and the other factor. Either may be (B, 1)
    instead: it is the same in all columns."""
    if not writer.tangents:
        return f"{gradient} * {factor}"
    gradient = writer.let("t", f"grouped({gradient})")
    rows, value = _grouped(writer, factor)
    return f"ungrouped(add_to_values({value} * {gradient}, tangent_sum({rows} * {gradient})))"


def norm_factor(writer: ProgramWriter, gradient: str, norm: str) -> str:
    """The expression, (B,), of what `multiplied_gradient` takes along with each column h under a norm to give the
    column's gradient: gradient / |h|, both (B,).

    It acts on |h| as on a product h . h / |h|; a tangent h . dh / |h| also shrinks with 1 / |h|, by -d|h| / |h|.
    """
    if not writer.tangents:
        return f"({gradient}) / {norm}"
    norm, length = _grouped(writer, f"{norm}[:, None]")
    factor = writer.let("t", f"grouped(({gradient})[:, None]) / {length}")
    return f"one_column(add_to_values({factor}, tangent_sum({factor} * {norm}) / -{length}))"


def _grouped(writer: ProgramWriter, rows: str) -> tuple[str, str]:
    """Adds rows by points, (B / 4, 4, N), and their values, (B / 4, 1, N); returns the names of both."""
    groups = writer.let("t", f"grouped({rows})")
    return groups, writer.let("v", f"values_of({groups})")
