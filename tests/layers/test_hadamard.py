"""The fast Hadamard transform: equal to the dense product in values and derivatives, at every width."""

import pytest
import torch
import torch.nn.functional as F

from eugen_fields.layers import PRPLinear, fold
from eugen_fields.layers.hadamard import fast_product_pays, hadamard_matrix, hadamard_product, hadamard_transform
from eugen_fields.layers.random_matrices import hadamard_parts, hadamard_rows


def values(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense_hadamard(size):
    """Entry (i, j) is the parity of the common bits of i and j."""
    parity = [[(-1.0) ** bin(i & j).count("1") for j in range(size)] for i in range(size)]
    return torch.tensor(parity, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 32, 128])
def test_matrix_is_sylvesters(size):
    matrix = hadamard_matrix(size, torch.float64, torch.device("cpu"))
    assert torch.equal(matrix, dense_hadamard(size))
    assert torch.equal(matrix @ matrix.T, size * torch.eye(size, dtype=torch.float64))


@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (0,)])
@pytest.mark.parametrize("size", [1, 2, 8, 16, 64, 512])
def test_transform_is_the_dense_product(size, leading):
    x = values(*leading, size)
    matrix = hadamard_matrix(size, torch.float64, torch.device("cpu"))
    torch.testing.assert_close(hadamard_transform(x), x @ matrix, rtol=1e-10, atol=1e-10)


def test_transform_twice_is_the_input_times_its_length():
    x = values(4, 256)
    torch.testing.assert_close(hadamard_transform(hadamard_transform(x)), 256 * x, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("size", [0, 3, 12])
def test_other_lengths_are_refused(size):
    with pytest.raises(ValueError, match=f"length {size}"):
        hadamard_transform(torch.zeros(2, size))


def test_derivatives():
    x = values(2, 8).requires_grad_()
    assert torch.autograd.gradcheck(hadamard_transform, x)
    assert torch.autograd.gradgradcheck(lambda x: hadamard_transform(x).square(), x)


@pytest.mark.parametrize("rows, columns", [(8, 8), (5, 8), (20, 8), (1, 1), (7, 6), (20, 6), (33, 17), (9, 100)])
def test_product_is_the_dense_product_with_hadamard_rows(rows, columns):
    order, signs = hadamard_parts(rows, columns, seed=3)
    matrix, x = hadamard_rows(rows, columns, seed=3), values(4, columns)
    assert order.shape == (rows,) and signs.shape[1] == columns
    torch.testing.assert_close(hadamard_product(x, order, signs), x @ matrix.T, rtol=1e-10, atol=1e-10)


LARGE = [(512, 512), (600, 600), (512, 1100), (1000, 300)]


@pytest.mark.parametrize("in_features, out_features", LARGE)
def test_large_prp_layers_take_the_transform_and_equal_the_dense_layer(in_features, out_features):
    layer = PRPLinear(in_features, out_features, matrix="hadamard", seed=3).double()
    assert hasattr(layer, "hadamard_order")
    results = []
    for forward in (layer, lambda x: F.linear(x, layer.effective_weight(), layer.bias)):
        x = values(3, in_features).requires_grad_()
        y = forward(x)
        first = torch.autograd.grad(y.square().sum(), (x, layer.alpha, layer.scale), create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), (x, layer.alpha))
        results.append((y, *first, *second))
    for fast, dense in zip(*results):
        torch.testing.assert_close(fast, dense, rtol=1e-10, atol=1e-10 * float(dense.detach().abs().max()))
    torch.testing.assert_close(fold(layer)(x), results[1][0], rtol=1e-10, atol=1e-10)


def test_another_seed_is_loaded_into_the_transform():
    source = PRPLinear(512, 512, matrix="hadamard", seed=3)
    target = PRPLinear(512, 512, matrix="hadamard", seed=4)
    x = values(3, 512).float()
    assert not torch.equal(source(x), target(x))
    target.load_state_dict(source.state_dict())
    assert torch.equal(source(x), target(x)) and target.hadamard_order.dtype == torch.int64
    assert set(source.state_dict()) == {"seed", "alpha", "scale", "bias"}


def test_small_or_wasteful_products_stay_dense():
    assert not hasattr(PRPLinear(64, 64, matrix="hadamard"), "hadamard_order")
    assert not hasattr(PRPLinear(512, 512, matrix="orthogonal"), "hadamard_order")
    for rows, columns in ((256, 256), (300, 300), (64, 1024), (64, 512)):
        assert not fast_product_pays(rows, columns)
    for columns, rows in LARGE:
        assert fast_product_pays(rows, columns)
