"""Knowledge transfer: exact where the new layer can be, close where it cannot, and the teacher left alone."""

import copy
import json

import pytest
import torch
from torch import nn

from eugen_fields.layers import (
    MLP,
    EUGenLinear,
    LayerReport,
    LowRankLinear,
    PRPLinear,
    SNNKLinear,
    TransferReport,
    fold,
    transfer,
)
from eugen_fields.layers.layer import layer_multiplications

WIDTH, DEPTH = 32, 6
REPLACED = (1, 2, 3, 4)
KINDS = {
    "eugen": (EUGenLinear, {"num_features": 12}),
    "prp": (PRPLinear, {"rank": 2}),
    "low-rank": (LowRankLinear, {"rank": 6}),
    "snnk": (SNNKLinear, {"num_features": 12}),
}
every_kind = pytest.mark.parametrize("layer", KINDS)


def truth(x):
    return torch.stack([torch.sin(4 * x[..., 0]) * x[..., 1], torch.cos(3 * x[..., 1] * x[..., 2])], dim=-1)


def points(count, seed=1, dtype=torch.float32):
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 - 1


def dense_mlp(*sizes, **options):
    torch.manual_seed(0)  # from which dense layers are drawn
    return MLP(*sizes, layer="dense", **options)


def relative(student, teacher, x):
    with torch.no_grad():
        target = teacher(x)
        return float((student(x) - target).norm() / (target - target.flatten(0, -2).mean(0)).norm())


@pytest.fixture(scope="module")
def teacher():
    """A deep network with a skip connection, trained for a second."""
    mlp = dense_mlp(3, DEPTH, WIDTH, 2, skip_connections=(3,))
    optimizer = torch.optim.Adam(mlp.parameters(), lr=3e-3)
    for step in range(400):
        x = points(512, seed=step)
        optimizer.zero_grad()
        (mlp(x) - truth(x)).square().mean().backward()
        optimizer.step()
    return mlp.eval()


@pytest.fixture(scope="module")
def inputs():
    return points(3000, seed=1000)


def error(teacher, inputs, **options):
    return transfer(teacher, inputs, **options)[1].relative_error


# exactness


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sequential", [True, False])
def test_as_many_features_as_neurons_give_the_teacher_back(teacher, inputs, dtype, sequential):
    teacher, x = copy.deepcopy(teacher).to(dtype), inputs.to(dtype)
    student, report = transfer(teacher, x, layer="eugen", num_features=WIDTH, ridge=0.0, sequential=sequential)
    assert all(parameter.dtype == dtype for parameter in student.parameters())
    new = points(500, seed=7, dtype=dtype)
    torch.testing.assert_close(student(new), teacher(new), rtol=0, atol=1e-5)
    assert report.relative_error < 1e-5 and all(layer.relative_error < 1e-5 for layer in report.layers)


@pytest.mark.parametrize("layer, options", [("low-rank", {"rank": WIDTH}), ("prp", {"rank": WIDTH})])
def test_full_rank_gives_the_teacher_back(teacher, inputs, layer, options):
    student, _ = transfer(teacher, inputs, layer=layer, ridge=0.0, **options)
    torch.testing.assert_close(student(inputs), teacher(inputs), rtol=0, atol=2e-5)


@pytest.mark.parametrize("layer, options", [("low-rank", {"rank": 5}), ("prp", {"matrix": "ternary"})])
def test_a_teacher_of_the_same_kind_is_found_again(layer, options):
    teacher = dense_mlp(3, 4, 16, 2).double()
    source = MLP(3, 4, 16, 2, layer=layer, seed=0, **options).double()
    for index, old in enumerate(source.layers):
        dense = old.effective_weight() if isinstance(old, PRPLinear) else None
        dense = old.up @ old.down if isinstance(old, LowRankLinear) else dense
        teacher.layers[index].load_state_dict({"weight": old.weight if dense is None else dense, "bias": old.bias})
    x = points(2000, dtype=torch.float64)
    student, _ = transfer(teacher, x, layer=layer, ridge=0.0, **options)
    torch.testing.assert_close(student(x), source(x), rtol=0, atol=1e-4)


def test_the_result_is_the_same_every_time(teacher, inputs):
    first, again = (transfer(teacher, inputs, layer="eugen", num_features=5, finetune_steps=3)[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters()))


# how close


@pytest.mark.parametrize("num_features", [16, 24])
def test_neurons_beat_other_projections(teacher, inputs, num_features):
    errors = {
        projections: error(teacher, inputs, layer="eugen", num_features=num_features, projections=projections)
        for projections in ("neurons", "principal", "random")
    }
    assert errors["neurons"] < 0.9 * errors["principal"] and errors["neurons"] < 0.8 * errors["random"]


def test_mixed_projections_copy_a_nearly_linear_network() -> None:
    """Softplus of small pre-activations is nearly linear: linear functions of the inputs beat neurons there."""
    mlp = dense_mlp(16, 4, 32, 8, activation="softplus")
    with torch.no_grad():
        for layer in mlp.layers:
            layer.weight.mul_(0.3)
    x = torch.rand(3000, 16, generator=torch.Generator().manual_seed(0))
    results = {
        projections: error(mlp, x, layer="eugen", num_features=6, projections=projections)
        for projections in ("mixed", "neurons")
    }
    assert results["mixed"] < 0.7 * results["neurons"]


def test_mixed_projections_need_an_activation_that_is_linear_for_large_inputs(inputs):
    with pytest.raises(ValueError, match="'sine' is not linear for large inputs"):
        transfer(dense_mlp(3, 4, 32, 3, activation="sine"), inputs, layer="eugen", num_features=3, projections="mixed")


def test_more_features_are_better(teacher, inputs):
    errors = [error(teacher, inputs, layer="eugen", num_features=count) for count in (4, 8, 16, 24)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.2


@pytest.mark.parametrize(
    "layer, options",
    [
        ("eugen", {"num_features": 16}),
        ("eugen", {"num_features": 16, "projections": "random"}),
        ("low-rank", {"rank": 8}),
        ("prp", {"rank": 8}),
    ],
)
def test_later_layers_make_up_for_earlier_ones(teacher, inputs, layer, options):
    sequential, independent = (
        error(teacher, inputs, layer=layer, sequential=sequential, **options) for sequential in (True, False)
    )
    assert sequential < 0.95 * independent


@every_kind
def test_fits_beat_a_fresh_layer_also_on_new_points(teacher, inputs, layer):
    student, report = transfer(teacher, inputs, layer=layer, **KINDS[layer][1])
    fresh = teacher.with_layers(layer, seed=0, **KINDS[layer][1])
    new = points(1000, seed=8)
    assert relative(student, teacher, new) < 0.8 * relative(fresh, teacher, new)
    assert report.relative_error == pytest.approx(relative(student, teacher, inputs), rel=1e-3)


@every_kind
def test_fine_tuning_lowers_the_error_and_touches_new_layers_alone(teacher, inputs, layer):
    closed = error(teacher, inputs, layer=layer, **KINDS[layer][1])
    shown = []
    student, report = transfer(
        teacher, inputs, layer=layer, finetune_steps=60, batch_size=500, progress=lambda it: shown.extend(it) or it,
        **KINDS[layer][1],
    )  # fmt: skip
    assert report.relative_error < 0.9 * closed and len(shown) == 60
    for index in set(range(DEPTH)) - set(REPLACED):
        for name, value in teacher.layers[index].state_dict().items():
            assert torch.equal(student.layers[index].state_dict()[name], value)
    assert all(parameter.grad is None for parameter in student.parameters())


def test_fine_tuning_that_does_harm_is_undone(teacher, inputs):
    options = dict(layer="eugen", num_features=28)
    closed, report = transfer(teacher, inputs, **options)
    student, again = transfer(teacher, inputs, finetune_steps=3, learning_rate=0.1, **options)
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), closed.parameters()))
    assert again.relative_error == report.relative_error and again.finetune_seconds > 0.0 == report.finetune_seconds


@pytest.mark.parametrize("steps", [1, 2, 19, 20])
def test_any_number_of_steps_is_possible_even_where_no_gradients_are_kept(teacher, inputs, steps):
    with torch.no_grad():
        transfer(teacher, inputs, layer="prp", finetune_steps=steps, batch_size=16)


def test_fine_tuning_survives_outputs_that_do_not_vary(inputs):
    constant = dense_mlp(3, 3, 8, 2)
    nn.init.zeros_(constant.layers[2].weight)
    student, report = transfer(constant, inputs, layer="eugen", num_features=4, finetune_steps=3)
    assert torch.equal(student(inputs), constant(inputs)) and report.relative_error < 1e-3


# the student


@every_kind
def test_the_student_loads_into_a_network_built_from_scratch(teacher, inputs, layer):
    student, _ = transfer(teacher, inputs, layer=layer, replace=(2, 4), seed=5, **KINDS[layer][1])
    options = dict(KINDS[layer][1])
    if layer == "eugen":
        options |= {"norm": False, "projection_bias": True}
    built = MLP(3, DEPTH, WIDTH, 2, layer=layer, replace=(2, 4), skip_connections=(3,), seed=9, **options)
    built.load_state_dict(student.state_dict())
    assert torch.equal(built(inputs), student(inputs))
    names = {
        "eugen": {"projections", "weight", "bias"},
        "snnk": {"projections", "weight", "bias"},
        "prp": {"alpha", "scale", "seed", "down", "up", "bias"},
        "low-rank": {"down", "up", "bias"},
    }[layer]
    assert {name for name in student.state_dict() if name.startswith("layers.2.")} == {f"layers.2.{n}" for n in names}


def test_replaced_layers_are_those_asked_for(teacher, inputs):
    student, report = transfer(teacher, inputs, layer="eugen", num_features=4)
    assert student.replace == REPLACED and [layer.name for layer in report.layers] == [f"layers.{i}" for i in REPLACED]
    student, _ = transfer(teacher, inputs, layer="eugen", replace=(0, 3, 5), num_features=8)
    assert [index for index, new in enumerate(student.layers) if isinstance(new, EUGenLinear)] == [0, 3, 5]


def test_eugen_layers_get_the_teachers_activation_and_what_is_asked_for(inputs):
    teacher = dense_mlp(3, 4, 16, 2, activation="gelu", out_activation="sigmoid")
    student, report = transfer(teacher, inputs, layer="eugen", num_features=16, ridge=0.0)
    layer = student.layers[1]
    assert isinstance(layer, EUGenLinear)
    assert (layer.feature_activation, layer.norm, layer.projection_bias) == ("gelu", False, True)
    assert report.relative_error < 1e-4
    student, _ = transfer(
        teacher, inputs, layer="eugen", num_features=4, projections="random", order=2, init="gaussian"
    )
    layer = student.layers[1]
    assert isinstance(layer, EUGenLinear)
    assert (layer.order, layer.init, layer.norm, layer.projection_bias) == (2, "gaussian", True, False)


def test_a_last_layer_is_fitted_before_its_own_activation(inputs):
    teacher = dense_mlp(3, 3, 16, 2, out_activation="sigmoid", activation="silu")
    student, report = transfer(teacher, inputs, layer="low-rank", replace=(2,), rank=2, ridge=0.0)
    torch.testing.assert_close(student(inputs), teacher(inputs), rtol=0, atol=1e-5)
    student, report = transfer(teacher, inputs, layer="eugen", replace=(2,), num_features=64)
    assert report.relative_error < 0.05
    trunk = dense_mlp(3, 3, 16, None)
    assert error(trunk, inputs, layer="eugen", replace=(1, 2), num_features=16, ridge=0.0) < 1e-5


@every_kind
def test_layers_without_a_bias_are_fitted_without_one(teacher, inputs, layer):
    student, report = transfer(teacher, inputs, layer=layer, bias=False, **KINDS[layer][1])
    assert all(student.layers[index].bias is None for index in REPLACED)
    assert report.layers[0].relative_error < 1.0
    with_bias = transfer(teacher, inputs, layer=layer, **KINDS[layer][1])[1]
    if layer != "prp":  # whose scales are a local minimum
        assert with_bias.layers[0].relative_error <= report.layers[0].relative_error + 1e-6


def test_students_of_students(teacher, inputs):
    first, _ = transfer(teacher, inputs, layer="eugen", replace=(1,), num_features=WIDTH, ridge=0.0)
    second, report = transfer(first, inputs, layer="low-rank", replace=(2,), rank=WIDTH, ridge=0.0)
    torch.testing.assert_close(second(inputs), teacher(inputs), rtol=0, atol=1e-5)
    torch.testing.assert_close(fold(second)(inputs), teacher(inputs), rtol=0, atol=2e-5)
    with pytest.raises(ValueError, match="layer 1 is a EUGenLinear; only dense layers can be replaced"):
        transfer(first, inputs, layer="prp")


@every_kind
def test_the_teacher_is_left_alone(teacher, inputs, layer):
    teacher = copy.deepcopy(teacher).train()
    teacher.layers[3].eval()
    teacher.layers[1].weight.requires_grad_(False)
    calls = []
    teacher.layers[2].register_forward_hook(lambda *_: calls.append(1))  # not ours: stays
    before = copy.deepcopy(teacher.state_dict())
    transfer(teacher, inputs, layer=layer, finetune_steps=2, **KINDS[layer][1])
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert [part.training for part in teacher.layers] == [True, True, True, False, True, True] and teacher.training
    assert [parameter.requires_grad for parameter in teacher.layers[1].parameters()] == [False, True]
    assert all(parameter.grad is None for parameter in teacher.parameters())
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in teacher.modules()]
    assert sum(hooks) == 1 and calls


# readers


def test_neurons_are_picked_for_what_the_next_layer_reads(inputs):
    teacher = dense_mlp(3, 3, 16, 2)
    read = [2, 7, 11]
    with torch.no_grad():
        teacher.layers[2].weight.zero_()[:, read] = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    assert error(teacher, inputs, layer="eugen", num_features=3, ridge=0.0) < 1e-5


def test_a_replaced_reader_reads_with_its_picked_neurons_only(inputs):
    teacher = dense_mlp(3, 4, 16, 2, skip_connections=(2,))
    generator = torch.Generator().manual_seed(0)
    second = [
        1,
        5,
        8,
    ]  # the last layer reads these of layer 2, and these read 3 and 9 of layer 1: 3 features are enough
    with torch.no_grad():
        teacher.layers[3].weight.zero_()[:, second] = torch.randn(2, 3, generator=generator)
        teacher.layers[2].weight[second, 3:] = 0.0
        teacher.layers[2].weight[second[0], 3 + 3] = 1.0
        teacher.layers[2].weight[second[1], 3 + 9] = -1.0
    student, report = transfer(teacher, inputs, layer="eugen", num_features=3, ridge=0.0)
    assert report.relative_error < 1e-5 < report.layers[0].relative_error
    rows = student.layers[2].projections.detach()[:, :3]
    expected = teacher.layers[2].weight.detach()[second, :3]
    assert all(torch.isclose(rows, row).all(dim=1).any() for row in expected)


# inputs


def same(a, b):
    return all(torch.allclose(x, y, rtol=0, atol=1e-4) for x, y in zip(a.parameters(), b.parameters()))


def test_inputs_of_every_form_give_the_same_student(teacher, inputs):
    class Anew:
        def __iter__(self):
            return iter(inputs.split(700))

    options = dict(layer="eugen", num_features=6)
    expected, report = transfer(teacher, inputs, **options)
    ones = torch.ones(1500)
    forms = [inputs.split(1000), list(inputs.split(999)), [(part, ones) for part in inputs.split(1500)], Anew()]
    for form in [*forms, inputs.view(30, 20, 5, 3)]:
        student, again = transfer(teacher, form, **options)
        assert same(student, expected) and again.samples == report.samples == 3000


def test_weights_say_which_inputs_count(teacher, inputs):
    half = (inputs[:, 0] > 0).float()
    options = dict(layer="eugen", num_features=6)
    weighted, report = transfer(teacher, [(inputs, half)], **options)
    only, expected = transfer(teacher, inputs[half > 0], **options)
    assert same(weighted, only)
    assert report.samples == expected.samples == int(half.sum())
    assert report.relative_error == pytest.approx(expected.relative_error, rel=1e-3)
    grid = inputs.view(60, 50, 3)
    first_rays = torch.arange(60.0) < 30
    on_grid, closed = transfer(teacher, [(grid, first_rays)], **options)
    assert same(on_grid, transfer(teacher, grid[:30], **options)[0])
    _, tuned = transfer(teacher, [(grid, first_rays)], finetune_steps=60, batch_size=20, **options)
    assert tuned.relative_error < closed.relative_error and tuned.samples == 30 * 50


def test_unusable_requests_are_refused(teacher, inputs):
    eugen = {"layer": "eugen", "num_features": 4}
    broken = torch.where(torch.arange(3000)[:, None] == 5, float("nan"), inputs)
    refused = [
        (broken, eugen, "targets of layers.[14] hold NaN|features of layers.[14] hold NaN"),
        (broken, {"layer": "prp"}, "features of layers.1 hold NaN or infinity"),
        (iter([inputs]), eugen, "inputs is an iterator"),
        ((part for part in [inputs]), eugen, "inputs is an iterator"),
        (inputs[:0], eugen, "holds no samples"),
        ([], eugen, "yields no batches"),
        (inputs[:4], eugen, "layers.1: 4 samples cannot determine 4 features and a bias"),
        ([(inputs, torch.zeros(3000))], eugen, "no samples of positive weight"),
        (inputs[:, :2], eugen, r"inputs have shape \(3000, 2\); the teacher takes \(N, ..., 3\)"),
        (inputs[0], eugen, r"inputs have shape \(3,\)"),
        (
            inputs,
            {**eugen, "projections": "best"},
            "projections is 'best'; it must be one of neurons, mixed, principal, random",
        ),
        (inputs, {**eugen, "order": 2}, "order is 2; projections='neurons' needs order=1. Take projections='random'"),
        (inputs, {**eugen, "order": 2, "projections": "principal"}, "order is 2; projections='principal' needs"),
        (inputs, {**eugen, "train_projections": False}, "train_projections is False; projections='neurons' needs"),
        (inputs, {**eugen, "projection_bias": False}, "projection_bias is False"),
        (inputs, {"layer": "dense"}, "layer is 'dense', which the trained layer already is"),
        (inputs, {"layer": "sparse"}, "layer is 'sparse'"),
        (inputs, {"layer": "prp", "num_features": 3}, "prp layers have no option 'num_features'"),
        (inputs, {**eugen, "finetune_steps": -1}, "finetune_steps is -1"),
        (inputs, {**eugen, "batch_size": 0}, "batch_size is 0"),
        (inputs, {**eugen, "ridge": -1.0}, "ridge is -1.0"),
        (inputs, {**eugen, "replace": ()}, "there is nothing to replace"),
        (inputs, {**eugen, "replace": (9,)}, "replace names layer 9"),
    ]
    for given, options, message in refused:
        with pytest.raises(ValueError, match=message):
            transfer(teacher, given, **options)
    with pytest.raises(ValueError, match="there is nothing to replace"):
        transfer(dense_mlp(3, 1, 8, 1), inputs, layer="prp")


# the report


def test_the_report_counts_right():
    teacher = dense_mlp(3, 4, 16, 2)
    dense = 3 * 16 + 16 + 2 * (16 * 16 + 16) + 16 * 2 + 2
    for layer, options, parameters, products, folded in (
        ("eugen", {"num_features": 5}, 5 * 17 + 5 * 16 + 16, 5 * 16 + 5 * 16, 3 * 16 + 16 * 5 + 5 * 5 + 5 * 2),
        ("prp", {"rank": 2}, 16 + 2 * 16 + 2 * 2 * 16, 16 * 16 + 2 * 2 * 16, 3 * 16 + 2 * 16 * 16 + 16 * 2),
        ("low-rank", {"rank": 3}, 2 * 3 * 16 + 16, 2 * 3 * 16, 3 * 16 + 4 * 3 * 16 + 16 * 2),
    ):
        student, report = transfer(teacher, points(400), layer=layer, finetune_steps=1, **options)
        for row in report.layers:
            assert isinstance(row, LayerReport) and row.seconds > 0.0
            assert (row.parameters_before, row.parameters_after) == (16 * 16 + 16, parameters)
            assert (row.multiplications_before, row.multiplications_after) == (16 * 16, products)
            assert row.features == (5 if layer == "eugen" else 16)
            assert row.solver == ("alternating least squares" if layer == "prp" else "cholesky")
        assert report.samples == 400 and report.fit_seconds > 0.0 and report.finetune_seconds > 0.0
        assert report.parameters_before == dense == sum(p.numel() for p in teacher.parameters())
        assert report.parameters_after == dense - 2 * (16 * 16 + 16 - parameters)
        assert report.multiplications_before == 3 * 16 + 2 * 16 * 16 + 16 * 2
        assert report.multiplications_after == folded


def test_signs_of_fast_hadamard_products_are_not_counted_as_multiplications():
    teacher = dense_mlp(3, 3, 1024, 2)
    student = teacher.with_layers("prp", matrix="hadamard")
    layer = student.layers[1]
    assert any(buffer.dim() == 2 and name != "projection" for name, buffer in layer.named_buffers())
    assert layer_multiplications(layer) == 1024 * 1024


def test_the_report_can_be_written_down(teacher, inputs):
    _, report = transfer(teacher, inputs, layer="eugen", num_features=4)
    assert isinstance(report, TransferReport)
    loaded = json.loads(json.dumps(report.as_dict()))
    assert loaded["samples"] == 3000 and loaded["layers"][3]["name"] == "layers.4"
    table = report.markdown().splitlines()
    assert len(table) == 2 + len(REPLACED) + 1 and len({row.count("|") for row in table}) == 1
    assert (
        table[2].startswith("| layers.1 | ") and "1,056 -> " in table[2] and table[-1].startswith("| network, folded |")
    )


def test_dead_neurons_are_fitted_by_the_pseudo_inverse(inputs):
    teacher = dense_mlp(3, 3, 16, 2)
    with torch.no_grad():
        teacher.layers[1].bias[:4] = -100.0
    _, report = transfer(teacher, inputs, layer="eugen", num_features=16, ridge=0.0)
    assert report.relative_error < 1e-4
    _, report = transfer(teacher, inputs, layer="low-rank", rank=16, replace=(1,), ridge=0.0)
    assert report.relative_error < 1e-4


def test_the_name_is_that_of_the_function_and_of_its_module():
    from eugen_fields import layers
    from eugen_fields.layers.fitting.transfer import TransferReport as from_module

    assert callable(layers.transfer) and from_module is layers.TransferReport
