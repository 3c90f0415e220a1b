"""The element-wise operations of kernels against torch, up to what is not a number."""

import math

import pytest
import torch
from torch import Tensor

from eugen_fields.encodings import FrequencyEncoding, IntegratedEncoding
from eugen_fields.kernels.run.launch import build
from eugen_fields.kernels.stages.live import DIFFERENTIABLE
from eugen_fields.kernels.write.forward import encoding_table
from eugen_fields.kernels.write.program import ProgramWriter, padded
from eugen_fields.layers.activations import ACTIVATIONS

SPECIAL = [0.0, -0.0, 1e-30, -1e-30, 20.0, -20.0, 88.0, -88.0, 1e30, -1e30, math.inf, -math.inf, math.nan]


def evaluate(expression: str, values: Tensor) -> Tensor:
    """An expression of z, of operations of kernels/ops, at values (n,)."""
    size = 1 << (len(values) - 1).bit_length()
    source = (
        "def kernel(values, results, SIZE: tl.constexpr):\n"
        "    places = tl.arange(0, 16)[:, None] * SIZE + tl.arange(0, SIZE)[None, :]\n"
        "    z = tl.load(values + places)\n"
        f"    tl.store(results + places, {expression})\n"
    )
    inputs = padded(values[None, :].cpu(), 16, size).to(values.device)
    results = torch.empty_like(inputs)
    build(source, values.device.type == "cpu")[(1,)](inputs, results, SIZE=size)
    return results[0, : len(values)]


def test_rounding_to_bfloat16_is_that_of_torch(device):
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (4000,), generator=generator).to(torch.int32)
    values = torch.cat([bits.view(torch.float32), torch.tensor(SPECIAL), 1.0 + torch.arange(600) * 2.0**-10]).to(device)
    got = evaluate("as_rounded_float32(z)", values)
    torch.testing.assert_close(got, values.bfloat16().float(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "identity"])
def test_tangents_of_activations_are_those_of_torch(name, device):
    values = torch.cat([torch.linspace(-12, 12, 1000), torch.tensor([0.0, -0.0, 1e30, -1e30])]).to(device)
    z = values.double().requires_grad_()
    (slope,) = torch.autograd.grad(ACTIVATIONS[name](z).sum(), z)
    got = evaluate(f"{name}_tangent(z * 0.0 + 1.0, z)", values)
    at_corner = (values == 0.0) if name == "relu" else torch.zeros_like(values, dtype=torch.bool)
    if name == "sine":  # numbers of 1e30 are whole turns and noise
        at_corner = values.abs() > 1e29
    torch.testing.assert_close(got[~at_corner], slope.float()[~at_corner], rtol=1e-5, atol=2e-6, equal_nan=True)


@pytest.mark.parametrize("name", DIFFERENTIABLE[1:])
def test_gradients_and_bends_of_activations_are_those_of_torch(name, device):
    values = torch.linspace(-0.1, 0.1, 200) if name == "softplus100" else torch.linspace(-5, 5, 200)
    values = values.to(device)
    z = values.double().requires_grad_()
    h = ACTIVATIONS[name](z)
    (slope,) = torch.autograd.grad(h.sum(), z, create_graph=True)
    got = evaluate(f"{name}_gradient(z * 0.0 + 1.0, z)", h.detach().float())
    torch.testing.assert_close(got, slope.detach().float(), rtol=2e-4, atol=1e-6)
    if name == "relu":
        return  # whose slope has none
    (curvature,) = torch.autograd.grad(slope.sum(), z)
    got = evaluate(f"{name}_bend(z)", h.detach().float())
    torch.testing.assert_close(got, (curvature / slope.detach()).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name != "identity"])
def test_activations_are_those_of_torch(name, device):
    values = torch.cat([torch.linspace(-12, 12, 1000), torch.tensor(SPECIAL)]).to(device)
    expected = ACTIVATIONS[name](values.double()).float()
    got = evaluate(f"{name}(z)", values)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=2e-6, equal_nan=True)


def encode(encoding: FrequencyEncoding | IntegratedEncoding, u: Tensor) -> Tensor:
    """The encoding of u (N, 3) as a kernel computes it, shape (N, out_dim)."""
    writer = ProgramWriter(torch.float32)
    names = [writer.let("u", f"load_column(points, rows, valid, {axis})") for axis in range(3)]
    value = writer.waves((names[0], names[1], names[2]), *encoding_table(encoding))
    results = [torch.empty(len(u), piece.width, device=u.device) for piece in value]
    for index, piece in enumerate(value):
        writer.line(
            f"store_columns(piece{index}, {piece.name}, rows, valid, {piece.width}, 0, {piece.width}, {piece.padded})"
        )
    writer.block(torch.zeros(1, 1), 16, 16)  # a program has weights
    pointers = ["points", *(f"piece{index}" for index in range(len(value)))]
    program = writer.program("kernel", pointers, resident=False)
    weights, vectors = program.weights.to(u.device), program.vectors.to(u.device)
    kernel = build(program.source, u.device.type == "cpu")
    kernel[(3,)](u, *results, weights, vectors, len(u), 0, BLOCK=32, PER_PROCESSOR=1)
    return torch.cat(results, dim=1)


ENCODINGS = [FrequencyEncoding(3, 10), FrequencyEncoding(3, 0), IntegratedEncoding(6, basis="icosahedron")]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_hold_to_the_last_octave(encoding, device):
    # on both sides of the box too: the tenth octave of FrequencyEncoding reaches 3,000 radians
    u = (4.0 * torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 2.0).to(device)
    got = encode(encoding, u)
    # a sum of three products in half turns rounds by 1e-7 of itself, which is up to 2^5 * 2 * 3 half turns
    tolerance = 1e-6 if isinstance(encoding, FrequencyEncoding) else 6e-5
    torch.testing.assert_close(got, encoding.to(device)(u), rtol=0, atol=tolerance)
    assert torch.equal(got[:, :3], u)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_waves_stay_bounded_however_far_away(encoding, device):
    u = torch.tensor([[1e6, -3e8, 1e12], [-1e25, 1e20, 1e18]], device=device)
    assert bool((encode(encoding, u)[:, 3:].abs() <= 1.0 + 1e-6).all())
