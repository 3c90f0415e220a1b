"""PRPLinear: the dense matrix it equals, what it stores, and what its seed decides."""

import pytest
import torch
import torch.nn.functional as F

from eugen_fields.layers import PRPLinear
from eugen_fields.layers.random_matrices import prp_matrix

MATRICES = ["gaussian", "ternary", "orthogonal", "hadamard"]


def values(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def moved(layer, seed=5):
    with torch.no_grad():
        for index, parameter in enumerate(layer.parameters()):
            parameter.add_(values(*parameter.shape, seed=seed + index, dtype=parameter.dtype))
    return layer


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize("in_features, out_features", [(8, 5), (5, 8), (5, 13)])
def test_layer_equals_its_dense_matrix(matrix, rank, in_features, out_features):
    layer = moved(PRPLinear(in_features, out_features, matrix=matrix, rank=rank, seed=3).double())
    weight = torch.diag(layer.scale) @ layer.projection @ torch.diag(layer.alpha)
    if rank:
        weight = weight + layer.up @ layer.down
    x = values(7, in_features)
    torch.testing.assert_close(layer.effective_weight(), weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer(x), F.linear(x, weight, layer.bias), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("matrix", MATRICES)
def test_projection_is_the_matrix_of_the_seed(matrix):
    layer = PRPLinear(8, 5, matrix=matrix, seed=3)
    assert torch.equal(layer.projection, prp_matrix(matrix, 8, 5, 3).float())
    assert not torch.equal(layer.projection, PRPLinear(8, 5, matrix=matrix, seed=4).projection)


def test_parameter_count_is_inputs_plus_twice_the_outputs():
    count = lambda **options: sum(parameter.numel() for parameter in PRPLinear(256, 192, **options).parameters())
    assert count() == 256 + 2 * 192
    assert count(bias=False) == 256 + 192
    assert count(rank=3) == 256 + 2 * 192 + 3 * (256 + 192)
    wide = PRPLinear(2048, 1024, matrix="ternary")  # the paper's example: 4,096 against 2,098,176
    assert sum(parameter.numel() for parameter in wide.parameters()) == 4096
    stored = sum(value.numel() for value in wide.state_dict().values())
    assert stored == 4096 + 1  # and the seed


def test_projection_is_neither_stored_nor_trained():
    layer = PRPLinear(8, 5, seed=3)
    assert set(layer.state_dict()) == {"seed", "alpha", "scale", "bias"}
    assert int(layer.state_dict()["seed"]) == 3
    assert set(PRPLinear(8, 5, rank=2).state_dict()) == {"seed", "alpha", "scale", "bias", "down", "up"}
    assert not layer.projection.requires_grad


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("assign", [False, True])
def test_loading_another_seed_draws_its_projection(matrix, assign):
    source = moved(PRPLinear(8, 5, matrix=matrix, rank=1, seed=3))
    target = PRPLinear(8, 5, matrix=matrix, rank=1, seed=4)
    target.load_state_dict(source.state_dict(), assign=assign)
    x = values(7, 8, dtype=torch.float32)
    assert torch.equal(source(x), target(x))
    assert "projection" not in target.state_dict()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_loading_another_seed_is_exact_in_every_dtype(dtype):
    source = PRPLinear(8, 5, seed=3).to(dtype)
    target = PRPLinear(8, 5, seed=4).to(dtype)
    target.load_state_dict(source.state_dict())
    assert target.projection.dtype == dtype
    assert torch.equal(source.projection, target.projection)


def test_nested_layers_load_their_own_seeds():
    make = lambda seed: torch.nn.Sequential(PRPLinear(8, 6, seed=seed), torch.nn.ReLU(), PRPLinear(6, 5, seed=seed + 7))
    source, target = make(1), make(20)
    target.load_state_dict(source.state_dict())
    x = values(7, 8, dtype=torch.float32)
    assert torch.equal(source(x), target(x))


def test_low_rank_term_starts_at_zero():
    x = values(7, 8, dtype=torch.float32)
    assert torch.equal(PRPLinear(8, 5, rank=3, seed=1)(x), PRPLinear(8, 5, seed=1)(x))


def test_scales_start_near_one_and_gain_scales_alpha():
    layer = PRPLinear(400, 300, seed=1)
    for start, count in ((layer.alpha, 400), (layer.scale, 300)):
        assert float(start.mean().detach()) == pytest.approx(1.0, abs=5 * 0.05 / count**0.5)
        assert float(start.std().detach()) == pytest.approx(0.05, rel=0.25)
    torch.testing.assert_close(PRPLinear(400, 300, seed=1, gain=2.0).alpha, 2.0 * layer.alpha)


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("in_features, out_features", [(64, 64), (48, 96), (96, 48)])
def test_unit_variance_stays_near_one_at_the_start(matrix, in_features, out_features):
    x = values(512, in_features, dtype=torch.float32)
    outputs = torch.stack([PRPLinear(in_features, out_features, matrix=matrix, seed=s)(x) for s in range(8)])
    assert float(outputs.detach().square().mean()) == pytest.approx(1.0, abs=0.1)
