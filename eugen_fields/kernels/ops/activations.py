"""Activations in kernels, by their names in layers.activations, and their derivatives: written like tiles.py.

For an activation h = a(z), `relu(z)` is its value, and `relu_tangent(t, z)` its derivative along a tangent t of z.
Where the slope can be told from the value, `relu_gradient(g, h)` is the gradient before it from the gradient g behind
it, and `sigmoid_bend(h)`, where that is not 0, is a''(z) / a'(z): how fast the slope that tangents meet turns.
"""

# pyright: basic, reportArgumentType=false, reportOperatorIssue=false

import triton.language as tl

# Values


def relu(z):
    return tl.maximum(z, 0.0, propagate_nan=tl.PropagateNan.ALL)


def sigmoid(z):
    return 1.0 / (1.0 + tl.exp(-z))


def silu(z):
    return z * sigmoid(z)


def softplus(z):
    return relu(z) + tl.log(1.0 + tl.exp(-tl.abs(z)))


def softplus100(z):
    return 0.01 * softplus(100.0 * z)


def gelu(z):
    return 0.5 * z * (1.0 + tl.erf(0.7071067811865476 * z))


def tanh(z):
    return 2.0 * sigmoid(2.0 * z) - 1.0


def sine(z):
    return tl.sin(z)


# Derivatives along tangents


def relu_tangent(t, z):
    return tl.where(z <= 0.0, 0.0, t)


def sigmoid_tangent(t, z):
    h = sigmoid(z)
    return t * h * (1.0 - h)


def silu_tangent(t, z):
    h = sigmoid(z)
    return t * h * (1.0 + z * (1.0 - h))


def softplus_tangent(t, z):
    return t * sigmoid(z)


def softplus100_tangent(t, z):
    return t * sigmoid(100.0 * z)


def gelu_tangent(t, z):
    density = 0.3989422804014327 * tl.exp(-0.5 * z * z)
    return t * (0.5 * (1.0 + tl.erf(0.7071067811865476 * z)) + z * density)


def tanh_tangent(t, z):
    h = tanh(z)
    return t * (1.0 - h * h)


def sine_tangent(t, z):
    return t * tl.cos(z)


# Gradients, from values


def relu_gradient(g, h):
    return tl.where(h <= 0.0, 0.0, g)


def sigmoid_gradient(g, h):
    return g * h * (1.0 - h)


def tanh_gradient(g, h):
    return g * (1.0 - h * h)


def softplus_gradient(g, h):
    return g * (1.0 - tl.exp(-h))


def softplus100_gradient(g, h):
    return g * (1.0 - tl.exp(-100.0 * h))


# a'' / a', from values; identity and relu have none


def sigmoid_bend(h):
    return 1.0 - 2.0 * h


def tanh_bend(h):
    return -2.0 * h


def softplus_bend(h):
    return tl.exp(-h)


def softplus100_bend(h):
    return 100.0 * tl.exp(-100.0 * h)
