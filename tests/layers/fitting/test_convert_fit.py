"""Conversion with inputs: the new layers imitate what they replace, in the order in which they run."""

import copy

import pytest
import torch
from torch import nn

from eugen_fields.layers import EUGenLinear, LayerReport, convert, fold

WIDTH = 24
FIRST = r"blocks\.\d\.mlp\.0"


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        from torchvision.models.vision_transformer import MLPBlock  # which takes seconds to import

        self.norm, self.mlp = nn.LayerNorm(WIDTH), MLPBlock(WIDTH, 4 * WIDTH, dropout=0.0)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x):
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return x + self.mlp(self.norm(x))


class Transformer(nn.Module):
    """Blocks as in torchvision's vision transformer, registered in the reverse of the order in which they run."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(WIDTH, 2)
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.embedding = nn.Linear(3, WIDTH)

    def forward(self, x):
        x = self.embedding(x)
        for block in reversed(self.blocks):
            x = x + block(x)
        return self.head(x)


def points(count, seed):
    return torch.rand(count, 6, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def relative(converted, model, x):
    with torch.no_grad():
        target = model(x)
        return float((converted(x) - target).norm() / (target - target.mean(dim=(0, 1))).norm())


def relative_rows(converted, model, x):
    return relative(lambda rows: converted(rows)[None], lambda rows: model(rows)[None], x)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    transformer = Transformer()
    optimizer = torch.optim.Adam(transformer.parameters(), lr=3e-3)
    for step in range(250):
        x = points(32, step)
        target = torch.stack([torch.sin(3 * x[..., 0]) * x[..., 1], x.mean(dim=1)[:, None, 2] * x[..., 0]], dim=-1)
        optimizer.zero_grad()
        (transformer(x) - target).square().mean().backward()
        optimizer.step()
    return transformer.eval()


@pytest.fixture(scope="module")
def inputs():
    return points(300, seed=1000)


def test_fitted_layers_imitate_what_they_replace(model, inputs):
    new = points(200, seed=1001)
    options = dict(layer="eugen", where=FIRST, num_features=24, seed=0)
    fitted = relative(convert(model, inputs=inputs, **options), model, new)
    at_random = relative(convert(model, inputs=inputs, projections="random", **options), model, new)
    from_scratch = relative(convert(model, **options), model, new)
    assert fitted < 0.6 * at_random and at_random < 0.5 * from_scratch and fitted < 0.15


@pytest.mark.parametrize(
    "options",
    [dict(layer="eugen", num_features=4 * WIDTH), dict(layer="low-rank", rank=WIDTH), dict(layer="prp", rank=24)],
)
def test_what_can_be_exact_is(model, inputs, options):
    # float64: the teacher's hidden values are far from independent of each other
    converted = convert(copy.deepcopy(model).double(), where=FIRST, inputs=inputs.double(), ridge=0.0, **options)
    torch.testing.assert_close(converted(inputs.double()), model.double()(inputs.double()), rtol=0, atol=1e-5)
    model.float()


def test_layers_are_fitted_in_the_order_in_which_they_run(model, inputs):
    reports: list[LayerReport] = []
    converted = convert(model, layer="low-rank", where=FIRST, rank=3, inputs=inputs, report=reports)
    assert [row.name for row in reports] == [f"blocks.{index}.mlp.0" for index in (2, 1, 0)]
    # each on the converted model's own activations: the residual of the last one is free of what it can still explain
    seen = []
    last = converted.get_submodule("blocks.0.mlp.0")
    handle = last.register_forward_hook(lambda _, arguments, output: seen.append((arguments[0], output)))
    converted(inputs)
    handle.remove()
    model.get_submodule("blocks.0.mlp.0").register_forward_hook(lambda _, __, output: seen.append(output))
    model(inputs)
    model.get_submodule("blocks.0.mlp.0")._forward_hooks.clear()
    (x, fitted), target = seen
    residual = (fitted - target).detach().flatten(0, 1)
    assert float(residual.mean(dim=0).abs().max()) < 1e-4
    part = last.down.detach() @ (x.detach().flatten(0, 1).T @ residual) / len(residual)
    assert float(part.abs().max()) < 1e-3 * float(target.detach().square().mean())


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(inplace=True), nn.SiLU(inplace=True), nn.GELU(), nn.GELU("tanh"), nn.Tanh(), nn.Sigmoid(), nn.Softplus(3)],
)
def test_the_absorbed_activation_is_that_of_the_features(activation):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 12), activation, nn.Dropout(0.3), nn.Linear(12, 2)).double()
    x = torch.randn(400, 4, dtype=torch.float64)
    converted = convert(net, layer="eugen", where="0", num_features=12, inputs=x, ridge=0.0)
    assert isinstance(converted[0], EUGenLinear) and isinstance(converted[1], nn.Identity) and converted[0].training
    torch.testing.assert_close(converted.eval()(x), net.eval()(x), rtol=0, atol=1e-6)
    torch.testing.assert_close(fold(converted)(x), net(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("fitted", [False, True])
def test_snnk_layers_take_the_absorbed_activation_as_well(fitted):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 12), nn.SiLU(), nn.Linear(12, 2))
    x = torch.randn(400, 4)
    converted = convert(net, layer="snnk", where="0", num_features=48, inputs=x if fitted else None, seed=0)
    assert converted[0].activation == "silu" and isinstance(converted[1], nn.Identity)
    assert (relative_rows(converted, net, x) < 0.1) == fitted


def test_neurons_are_picked_for_the_linear_that_reads_them():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 12), nn.GELU(), nn.Dropout(0.3), nn.Linear(12, 2))
    with torch.no_grad():
        net[3].weight[:, 3:] = 0.0
    x = torch.randn(400, 4)
    converted = convert(net, layer="eugen", where="0", num_features=3, inputs=x, ridge=0.0)
    torch.testing.assert_close(converted.eval()(x), net.eval()(x), rtol=0, atol=1e-5)


def test_an_activation_that_stays_is_not_imitated():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(400, 4)
    options = dict(layer="eugen", where="0", feature_activation="identity", num_features=6, inputs=x, ridge=0.0)
    converted = convert(net, absorb_activation=False, **options)
    assert isinstance(converted[1], nn.Tanh)
    torch.testing.assert_close(converted(x), net(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "layer, options", [("eugen", {"num_features": 6}), ("low-rank", {"rank": 4}), ("prp", {"rank": 4})]
)
@pytest.mark.parametrize("bias", [True, False])
def test_a_lone_linear_with_and_without_bias(layer, options, bias):
    linear = nn.Linear(4, 6, bias=bias)
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0)) + 1.0
    if layer == "eugen":
        options = options | {"feature_activation": "identity"}
    converted = convert(linear, layer=layer, where="", inputs=x, ridge=0.0, **options)
    assert (converted.bias is None) == (not bias)
    torch.testing.assert_close(converted(x), linear(x), rtol=0, atol=1e-5)


def test_inputs_may_come_in_batches_with_weights(model, inputs):
    options = dict(layer="eugen", where=FIRST, num_features=6, seed=0)
    whole = convert(model, inputs=inputs, **options)
    parts = convert(model, inputs=[(part, torch.ones(len(part))) for part in inputs.split(77)], **options)
    torch.testing.assert_close(parts(inputs), whole(inputs), rtol=0, atol=1e-3)


def test_the_original_is_left_alone(model, inputs):
    before = copy.deepcopy(model.state_dict())
    convert(model, layer="eugen", where=FIRST, num_features=6, inputs=inputs)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training and not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_unusable_requests_are_refused(model, inputs):
    eugen = {"layer": "eugen", "where": FIRST, "num_features": 6}
    refused = [
        ({**eugen, "inputs": iter([inputs])}, "inputs is an iterator"),
        ({**eugen, "inputs": inputs[:0]}, "holds no samples"),
        ({**eugen, "inputs": inputs[:1]}, r"blocks.2.mlp.0: 6 samples cannot determine 6 features"),
        ({**eugen, "inputs": inputs * float("nan")}, r"(features|targets) of blocks.\d.mlp.0 hold NaN"),
        ({**eugen, "inputs": inputs, "projections": "best"}, "projections is 'best'"),
        ({**eugen, "inputs": inputs, "order": 2}, "order is 2; projections='neurons' needs order=1"),
        ({**eugen, "inputs": inputs, "ridge": -1.0}, "ridge is -1.0"),
        ({**eugen, "report": []}, "report is given without inputs"),
        ({"layer": "dense", "where": FIRST, "inputs": inputs}, "layer is 'dense', which the trained layer already is"),
    ]
    for options, message in refused:
        with pytest.raises(ValueError, match=message):
            convert(model, **options)


def test_layers_that_run_never_or_twice_are_refused():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice, self.never = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.twice(self.twice(x))

    x = torch.randn(50, 3)
    with pytest.raises(ValueError, match="never is not called when Odd is given these inputs"):
        convert(Odd(), layer="prp", where="never", inputs=x)
    with pytest.raises(ValueError, match="twice is called 2 times in a pass; only one call can be fitted"):
        convert(Odd(), layer="prp", where="twice", inputs=x)
