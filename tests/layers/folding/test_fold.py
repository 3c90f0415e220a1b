"""Folding: equal outputs and gradients, never more multiplications, and an original that stays as it was."""

import copy

import pytest
import torch
from support.fold_checks import (
    ALL_HIDDEN,
    KINDS,
    NUM_LAYERS,
    WIDTH,
    assert_same,
    build,
    kind_of,
    multiplications,
    perturbed,
    values,
)
from support.pairwise import pairwise
from torch import nn

from eugen_fields.layers import MLP, EUGenLinear, LowRankLinear, PRPLinear, fold
from eugen_fields.layers.activations import get_activation
from eugen_fields.layers.folding import FoldedMLP, FoldedStage
from eugen_fields.layers.folding.seeded import FoldedPRP


@pytest.mark.parametrize(
    "name, replace, out_dim, skip_connections",
    pairwise(
        list(KINDS),
        [None, (2, 3, 4), ALL_HIDDEN, (NUM_LAYERS - 1,), (0, 2)],
        [3, None],
        [(), (3,), (1, 4, 5)],
    ),
)
def test_folded_mlp_equals_the_mlp_with_no_more_multiplications(name, replace, out_dim, skip_connections):
    mlp = build(name, out_dim, replace=replace, skip_connections=skip_connections)
    folded = fold(mlp)
    assert_same(folded, mlp, values(9, 5))
    assert_same(folded, mlp, values(2, 3, 5))
    assert folded.multiplications() <= multiplications(mlp)


@pytest.mark.parametrize(
    "order, share_projections, activation", pairwise([1, 2, 3, 4], [True, False], ["relu", "sine"])
)
def test_every_order_folds(order, share_projections, activation):
    mlp = build(
        "eugen",
        replace=(2,),
        order=order,
        share_projections=share_projections,
        feature_activation=activation,
        skip_connections=(2,),
    )
    assert_same(fold(mlp), mlp, values(9, 5))


@pytest.mark.parametrize(
    "name, out_activation, replace", pairwise(list(KINDS), ["sigmoid", "sine"], [ALL_HIDDEN, (NUM_LAYERS - 1,)])
)
def test_output_activations_are_kept(name, out_activation, replace):
    mlp = build(name, replace=replace, out_activation=out_activation, activation="softplus")
    assert_same(fold(mlp), mlp, values(9, 5))


@pytest.mark.parametrize("name", ["eugen", "eugen without norm"])
@pytest.mark.parametrize("replace", [None, (2, 3, 4), (4,)])
def test_narrow_eugen_layers_lose_multiplications(name, replace):
    mlp = build(name, replace=replace)
    assert fold(mlp).multiplications() < multiplications(mlp)


def test_remark_four_two_layers_become_one():
    # EUGen then Linear, m features: m d + m l multiplications instead of m d + m d + d l
    torch.manual_seed(0)
    network = perturbed(nn.Sequential(EUGenLinear(30, 30, num_features=8, seed=1), nn.Linear(30, 12)))
    folded = fold(network)
    assert isinstance(folded, FoldedMLP)
    assert folded.multiplications() == 8 * 30 + 8 * 12
    assert_same(folded, network, values(9, 30))
    eugen, linear = network
    merged = linear.weight @ eugen.weight
    bias = linear.weight @ eugen.bias + linear.bias
    x = values(9, 30)
    torch.testing.assert_close(folded(x), eugen.features(x) @ merged.T + bias, rtol=1e-11, atol=1e-11)


def test_norm_columns_read_the_small_factor_of_a_merged_layer():
    # |W f + b| from f of m entries needs at most (m + 1) m multiplications, however many rows W has
    first, second = (EUGenLinear(30, 30, num_features=8, seed=seed) for seed in (1, 2))
    network = perturbed(nn.Sequential(first, second))
    folded = fold(network)
    assert folded.multiplications() == 8 * 30 + (8 * 8 + 9 * 8) + 30 * 8
    assert_same(folded, network, values(9, 30))


def test_without_bias():
    for name in KINDS:
        mlp = build(name, bias=False)
        assert_same(fold(mlp), mlp, values(9, 5))


def test_fixed_projections_fold():
    mlp = build("eugen", train_projections=False, order=2)
    assert_same(fold(mlp), mlp, values(9, 5))


class Residual(nn.Module):
    """A network of somebody else's, with layers of ours at several depths and parameters of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("shift", torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5]))
        self.body = MLP(5, 4, WIDTH, 5, num_features=4, seed=1)
        self.branches = nn.ModuleList([PRPLinear(5, 5, rank=1), LowRankLinear(5, 5, rank=2)])
        self.alone = EUGenLinear(5, 5, num_features=3, seed=2)
        self.nothing = None
        self.tail = nn.Sequential(
            nn.Sequential(EUGenLinear(5, 7, num_features=6, seed=2), nn.Linear(7, 6)),
            nn.Tanh(),
            nn.Linear(6, 6),
            PRPLinear(6, 4),
            nn.LayerNorm(4),
        )

    def forward(self, x):
        h = x + self.scale * self.body(x) + self.shift
        h = h + sum(branch(h) for branch in self.branches) + self.alone(h)
        return self.tail(h)


SEQUENCES = {
    "chain": lambda: nn.Sequential(
        EUGenLinear(5, 9, num_features=3, seed=1), EUGenLinear(9, 8, num_features=3, seed=2), nn.Linear(8, 4)
    ),
    "broken by a relu": lambda: nn.Sequential(
        EUGenLinear(5, 9, num_features=3, seed=1), nn.ReLU(), nn.Linear(9, 8), EUGenLinear(8, 4, num_features=3, seed=2)
    ),
    "linear kinds": lambda: nn.Sequential(
        LowRankLinear(5, 9, rank=2), PRPLinear(9, 8, rank=2), nn.Linear(8, 7), LowRankLinear(7, 4, rank=2)
    ),
    "mlp inside": lambda: nn.Sequential(MLP(5, 4, WIDTH, 6, num_features=4, seed=3), nn.Tanh(), PRPLinear(6, 4)),
    "nested": lambda: nn.Sequential(nn.Sequential(nn.Linear(5, 6), nn.ReLU()), EUGenLinear(6, 4, num_features=3)),
    "one prp": lambda: PRPLinear(5, 4, rank=2),
    "one eugen": lambda: EUGenLinear(5, 4, num_features=3, seed=0),
    "one low-rank": lambda: LowRankLinear(5, 4, rank=2),
    "one linear": lambda: nn.Linear(5, 4),
    "foreign module": Residual,
}
every_sequence = pytest.mark.parametrize("make", SEQUENCES.values(), ids=SEQUENCES)


@every_sequence
def test_any_module_folds_to_equal_outputs(make):
    torch.manual_seed(0)
    module = perturbed(make(), size=0.2)
    assert_same(fold(module), module, values(9, 5))


@every_sequence
def test_folding_twice_changes_nothing(make):
    torch.manual_seed(0)
    module = perturbed(make(), size=0.2)
    once = fold(module)
    twice = fold(once)
    x = values(9, 5)
    assert twice is not once
    assert torch.equal(twice(x), once(x))


class ResidualSequence(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def test_a_sequence_with_a_forward_of_its_own_keeps_it():
    torch.manual_seed(0)
    module = ResidualSequence(EUGenLinear(5, 7, num_features=3, seed=1), nn.Linear(7, 5)).double()
    assert_same(fold(module), module, values(9, 5))


@pytest.mark.parametrize("name", KINDS)
def test_folding_a_folded_mlp_changes_nothing(name):
    once = fold(build(name, skip_connections=(3,)))
    twice = fold(once)
    x = values(9, 5)
    assert torch.equal(twice(x), once(x))
    assert twice.multiplications() == once.multiplications()


@every_sequence
def test_original_is_left_alone(make):
    torch.manual_seed(0)
    module = perturbed(make(), size=0.2)
    x = values(9, 5)
    before = copy.deepcopy(module.state_dict())
    kept = {name: parameter for name, parameter in module.named_parameters()}
    outputs = module(x)
    folded = fold(module)
    with torch.no_grad():
        for value in (*folded.parameters(), *folded.buffers()):
            value.zero_()
    folded.float().train(False)
    after = module.state_dict()
    assert set(after) == set(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert all(parameter is kept[name] and parameter.requires_grad for name, parameter in module.named_parameters())
    assert torch.equal(module(x), outputs) and module.training


@pytest.mark.parametrize("name", KINDS)
def test_folded_mlp_has_nothing_left_to_train(name):
    folded = fold(build(name))
    assert list(folded.parameters()) == [] and len(list(folded.buffers())) > 0


def test_folded_mlp_moves_between_dtypes():
    mlp = build("eugen", skip_connections=(3,))
    x = values(9, 5)
    torch.testing.assert_close(fold(mlp).float()(x.float()).double(), mlp(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_folded_norm_column_survives_half_precision(dtype):
    # the sum of squares of these hidden values is beyond what float16 holds
    torch.manual_seed(0)
    mlp = MLP(4, 3, 64, 2, replace=(1,), num_features=8, seed=0)
    x = 200.0 * values(9, 4).float()
    expected = mlp(x).detach()
    folded = fold(mlp).to(dtype)
    assert float(torch.relu(mlp.layers[0](x)).detach().square().sum(dim=-1).max()) > 65504
    tolerance = 0.05 * float(expected.abs().max())
    torch.testing.assert_close(folded(x.to(dtype)).float(), expected, rtol=0, atol=tolerance)


def test_folded_norm_column_is_finite_at_zero():
    mlp = build("eugen", replace=(0, 1, 2), feature_activation="softplus")
    x = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    folded = fold(mlp)
    torch.testing.assert_close(folded(x), mlp(x), rtol=1e-10, atol=1e-10)
    (first,) = torch.autograd.grad(folded(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert bool(torch.isfinite(first).all()) and bool(torch.isfinite(second).all())


# PRP layers whose matrix stays drawn from its seed


@pytest.mark.parametrize(
    "matrix, rank, bias", pairwise(["gaussian", "ternary", "orthogonal", "hadamard"], [0, 2], [True, False])
)
def test_prp_folds_without_storing_its_matrix(matrix, rank, bias):
    mlp = build("prp", matrix=matrix, rank=rank, bias=bias, skip_connections=(3,))
    folded = fold(mlp, materialise=False)
    assert_same(folded, mlp, values(9, 5))
    assert folded.multiplications() == multiplications(mlp)
    assert sum(entry.numel() for entry in folded.state_dict().values()) <= sum(
        entry.numel() for entry in mlp.state_dict().values()
    )
    assert list(folded.parameters()) == []
    assert torch.equal(fold(folded, materialise=False)(values(9, 5)), folded(values(9, 5)))


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_folds_with_seeded_matrices(name):
    fixed = kind_of(name) == "eugen"
    mlp = build(name, skip_connections=(3,), train_projections=False) if fixed else build(name)
    assert_same(fold(mlp, materialise=False), mlp, values(9, 5))


def test_prp_materialises_into_one_dense_stage_by_default():
    layer = perturbed(PRPLinear(5, 4, rank=2, seed=1))
    (stage,) = fold(layer).stages
    assert isinstance(stage, FoldedStage)
    assert torch.equal(stage.weights["x"], layer.effective_weight()) and torch.equal(stage.bias, layer.bias)


def test_prp_scales_move_into_the_maps_on_both_sides():
    layers = (
        EUGenLinear(5, 9, num_features=3, seed=1),
        PRPLinear(9, 8, seed=2),
        PRPLinear(8, 7, seed=3),
        nn.Linear(7, 4),
    )
    network = perturbed(nn.Sequential(*layers))
    folded = fold(network, materialise=False)
    assert_same(folded, network, values(9, 5))
    first, second = (stage for stage in folded.stages if isinstance(stage, FoldedPRP))
    assert first.alpha is None and first.scale is not None
    assert second.alpha is None and second.scale is None and second.bias is None


def test_prp_scales_pass_a_relu_only_if_none_is_negative():
    mlp = build("prp", replace=(2, 3))
    with torch.no_grad():
        mlp.layers[2].alpha.abs_()
        mlp.layers[3].alpha[4] = -0.5
    folded = fold(mlp, materialise=False)
    first, second = (stage for stage in folded.stages if isinstance(stage, FoldedPRP))
    assert first.alpha is None and second.alpha is not None
    assert_same(folded, mlp, values(9, 5))


def test_low_rank_terms_keep_the_scales_of_their_layer():
    network = perturbed(nn.Sequential(PRPLinear(5, 9, seed=1), PRPLinear(9, 8, rank=2, seed=2), nn.Linear(8, 4)))
    folded = fold(network, materialise=False)
    assert_same(folded, network, values(9, 5))
    stage = folded.stages[1]
    assert stage.alpha is not None and stage.scale is not None


def test_folded_seeds_reload_and_draw_their_matrix():
    mlp, other = build("prp", seed=5, activation="softplus"), build("prp", seed=6, activation="softplus")
    folded, target = fold(mlp, materialise=False), fold(other, materialise=False)
    assert not any("projection" in name for name in folded.state_dict())
    assert not torch.equal(target(values(9, 5)), folded(values(9, 5)))
    target.load_state_dict(folded.state_dict())
    assert torch.equal(target(values(9, 5)), folded(values(9, 5)))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("materialise", [True, False])
def test_dtype_and_mode_are_kept_and_nothing_is_left_to_train(name, materialise):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        mlp = build(name).to(dtype).eval()
        folded = fold(mlp, materialise=materialise)
        floating = [value for value in folded.buffers() if value.is_floating_point()]
        assert floating and all(value.dtype == dtype for value in floating)
        assert list(folded.parameters()) == [] and not any(module.training for module in folded.modules())
        assert folded(values(9, 5).to(dtype)).dtype == dtype


@pytest.mark.parametrize("name", KINDS)
def test_the_device_is_kept(name):
    folded = fold(build(name, skip_connections=(3,)).to("meta"))
    assert all(value.is_meta for value in folded.buffers())


# stages that read any earlier values


def densely_connected_pair(depth=3, in_dim=5, width=7, num_features=4, out_dim=3):
    """A network h_l = h_{l-1} + EUGen_l([x; h_{l-1}]), h_0 = V x, y = U h_L, and the stages that it folds into:
    f_l = relu(A_l [x; f_1 .. f_{l-1}] + c_l), y = B [x; f_1 .. f_L] + b."""
    torch.manual_seed(0)
    first, last = (perturbed(nn.Linear(*sizes)) for sizes in ((in_dim, width), (width, out_dim)))
    options = {"num_features": num_features, "norm": False, "projection_bias": True}
    layers = [perturbed(EUGenLinear(in_dim + width, width, seed=seed, **options), seed) for seed in range(depth)]

    def network(x):
        h = first(x)
        for layer in layers:
            h = h + layer(torch.cat([x, h], dim=-1))
        return last(h)

    def through(weight, bias):
        """weight h + bias by the values that h is the sum of."""
        return {name: weight @ part for name, part in parts.items()}, weight @ constant + bias

    stages, parts, constant = [], {"x": first.weight}, first.bias
    with torch.no_grad():
        for index, layer in enumerate(layers):
            matrices = layer.projection_matrices()
            weights, bias = through(matrices[:, in_dim:-1], matrices[:, -1])
            weights["x"] = weights["x"] + matrices[:, :in_dim]
            stages.append(FoldedStage(weights, bias, activation=get_activation("relu")))
            parts, constant = parts | {f"f{index + 1}": layer.weight}, constant + layer.bias
        stages.append(FoldedStage(*through(last.weight, last.bias)))
    return network, FoldedMLP(stages)


def test_residual_eugen_layers_are_a_densely_connected_narrow_network():
    network, folded = densely_connected_pair()
    assert folded.stages[3].reads == ("x", "f1", "f2", "f3")
    assert_same(folded, network, values(9, 5))
    assert_same(folded, network, values(2, 3, 5))
    assert folded.multiplications() == sum(4 * (5 + 4 * i) for i in range(3)) + 3 * (5 + 4 * 3)
    assert torch.equal(fold(folded)(values(9, 5)), folded(values(9, 5)))


def test_a_norm_is_that_of_all_values_side_by_side():
    first = FoldedStage({"x": values(4, 5)}, values(4, seed=1))
    column, weight = values(3, seed=2), {"f1": values(3, 4, seed=3), "x": values(3, 5, seed=4)}
    both = FoldedMLP([first, FoldedStage(weight, values(3, seed=5), norm_column=column)])
    x = values(9, 5, seed=6)
    f = first({"x": x})
    plain = f @ weight["f1"].T + x @ weight["x"].T + values(3, seed=5)
    norm = torch.cat([x, f], dim=1).norm(dim=1, keepdim=True)
    torch.testing.assert_close(both(x), plain + norm * column, rtol=1e-9, atol=1e-9)


def test_values_are_kept_no_longer_than_they_are_read():
    _, folded = densely_connected_pair()
    assert folded.last_reads == [(), (), (), ("x", "f1", "f2", "f3")]
    assert fold(build("dense")).last_reads[:3] == [("x",), ("f1",), ("f2",)]


def test_stages_that_read_what_is_not_there_are_refused():
    stage = FoldedStage({"f2": values(3, 4)}, values(3))
    with pytest.raises(ValueError, match="stage 0 reads f2; before it there are x"):
        FoldedMLP([stage])
