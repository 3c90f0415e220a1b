"""Conversion of other people's models: what is chosen, swapped, absorbed, refused, and what folding then saves."""

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from eugen_fields.layers import (
    LAYER_KINDS,
    EUGenLinear,
    LowRankLinear,
    PRPLinear,
    chosen_linears,
    convert,
    fold,
    layer_options,
)
from eugen_fields.layers.folding import FoldedMLP

EXAMPLE = Path(__file__).parents[3] / "scripts" / "examples" / "05_convert_transformer.py"
OPTIONS = {"eugen": {"num_features": 6}, "low-rank": {"rank": 3}, "prp": {"matrix": "ternary"}}


class Mlp(nn.Module):
    def __init__(self, activation=nn.GELU, bias=True):
        super().__init__()
        self.fc1, self.act, self.drop = nn.Linear(8, 16, bias=bias), activation(), nn.Dropout(0.1)
        self.fc2 = nn.Linear(16, 8, bias=bias)

    def forward(self, x):
        return self.drop(self.fc2(self.drop(self.act(self.fc1(x)))))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.blocks = nn.ModuleList([Mlp() for _ in range(12)])
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = x + self.attention(x, x, x)[0]
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model().eval()


def tokens():
    return torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))


def kinds(module):
    return {name: type(layer) for name, layer in module.named_modules() if name}


def names(module, where):
    return [chosen.name for chosen in chosen_linears(module, where)]


def test_expressions_match_whole_names(model):
    assert names(model, r"blocks\.1\.fc1") == ["blocks.1.fc1"]
    assert names(model, r"blocks\.1.*\.fc1") == [f"blocks.{i}.fc1" for i in (1, 10, 11)]
    with pytest.raises(ValueError, match="chooses no nn.Linear"):
        chosen_linears(model, "fc1")


def test_predicates_see_name_and_layer(model):
    assert names(model, lambda name, linear: linear.out_features == 4) == ["head"]
    assert names(model, lambda name, linear: name.endswith("fc2") and "3" in name) == ["blocks.3.fc2"]


def test_activations_that_follow_are_listed(model):
    (first, second) = chosen_linears(model, r"blocks\.2\.fc[12]")
    assert first.linear is model.blocks[2].fc1 and first.activation == "blocks.2.act"
    assert second.linear is model.blocks[2].fc2 and second.activation is None
    assert [c.activation for c in chosen_linears(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), ".*")] == ["1"]
    listed = nn.ModuleList([nn.Linear(2, 2), nn.ReLU()])  # no forward that would say what follows what
    assert [c.activation for c in chosen_linears(listed, ".*")] == [None]
    assert chosen_linears(model.head, "")[0].linear is model.head


@pytest.mark.parametrize("activation", [nn.GELU, nn.ReLU, nn.SiLU, nn.Softplus, nn.Tanh, nn.Sigmoid])
def test_eugen_layers_absorb_the_activation(activation):
    mlp = Mlp(activation)
    converted = convert(mlp, layer="eugen", where="fc1", num_features=6)
    assert isinstance(converted.fc1, EUGenLinear) and isinstance(converted.act, nn.Identity)
    kept = convert(mlp, layer="eugen", where="fc1", absorb_activation=False, num_features=6)
    assert isinstance(kept.act, activation)


def test_only_an_activation_that_reads_nothing_else_is_absorbed():
    class Twice(Mlp):
        def forward(self, x):
            return self.act(self.fc2(self.act(self.fc1(x))))

    class Function(Mlp):
        def forward(self, x):
            return self.fc2(torch.tanh(self.fc1(x)))

    class Gated(Mlp):
        def forward(self, x):
            h = self.fc1(x)
            return self.fc2(h * self.act(h))

    for kind in (Twice, Function, Gated):
        converted = convert(kind(), layer="eugen", where="fc1", num_features=6)
        assert isinstance(converted.fc1, EUGenLinear) and isinstance(converted.act, nn.GELU)
    normalised = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.ReLU())
    assert kinds(convert(normalised, layer="eugen", where="0"))["2"] is nn.ReLU


def test_one_activation_object_in_many_blocks_stays_in_those_not_chosen():
    shared, blocks = nn.GELU(), nn.ModuleList([Mlp(), Mlp()])
    for block in blocks:
        block.act = shared
    converted = convert(blocks, layer="eugen", where=r"0\.fc1", num_features=6)
    assert isinstance(converted[0].act, nn.Identity) and isinstance(converted[1].act, nn.GELU)


@pytest.mark.parametrize("layer", [*OPTIONS, "dense"])
def test_only_what_was_chosen_changes(model, layer):
    before = copy.deepcopy(model.state_dict())
    x = tokens()
    expected = model(x)
    converted = convert(model, layer=layer, where=r"blocks\.[0-5]\.fc1", seed=0, **OPTIONS.get(layer, {}))
    changed = {name for name, kind in kinds(converted).items() if kind is not kinds(model)[name]}
    swapped = {f"blocks.{i}.fc1" for i in range(6)} if layer != "dense" else set()
    absorbed = {f"blocks.{i}.act" for i in range(6)} if layer == "eugen" else set()
    assert changed == swapped | absorbed
    assert all(type(converted.get_submodule(f"blocks.{i}.fc1")) is LAYER_KINDS[layer].cls for i in range(6))
    assert converted(x).shape == expected.shape and not torch.equal(converted(x), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model(x), expected)
    kept = converted.state_dict()
    assert all(torch.equal(kept[n], v) for n, v in before.items() if ".fc1." not in n or int(n.split(".")[1]) > 5)


@pytest.mark.parametrize("layer", OPTIONS)
def test_size_bias_dtype_and_mode_are_those_of_the_linear(layer):
    for bias, dtype, training in ((True, torch.float64, False), (False, torch.bfloat16, True)):
        mlp = Mlp(bias=bias).to(dtype).train(training)
        converted = convert(mlp, layer=layer, where="fc.", seed=3, **OPTIONS[layer])
        for name in ("fc1", "fc2"):
            new, old = converted.get_submodule(name), mlp.get_submodule(name)
            assert (new.in_features, new.out_features) == (old.in_features, old.out_features)
            assert (new.bias is not None) == bias and new.training == training
            assert all(parameter.dtype == dtype for parameter in new.parameters())
        assert converted(torch.ones(3, 8, dtype=dtype)).dtype == dtype


def test_the_device_is_that_of_the_linear():
    converted = convert(Mlp().to("meta"), layer="prp", where="fc1")
    assert all(value.is_meta for value in (*converted.parameters(), *converted.buffers()))


@pytest.mark.parametrize("layer", OPTIONS)
def test_layers_are_drawn_differently_and_the_seed_decides(model, layer):
    make = lambda seed: convert(model, layer=layer, where=r"blocks\..*\.fc1", seed=seed, **OPTIONS[layer])
    first, again, other = make(1).state_dict(), make(1).state_dict(), make(2).state_dict()
    entries = [name for name in first if "fc1" in name and first[name].dim() > 0 and "bias" not in name]
    for name in entries:
        assert torch.equal(first[name], again[name]) and not torch.equal(first[name], other[name])
    for entry in {name.rpartition(".")[2] for name in entries}:
        drawn = [first[name] for name in entries if name.endswith(entry)]
        assert all(not torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])
    torch.manual_seed(4)
    one = make(None).state_dict()
    torch.manual_seed(4)
    assert all(
        torch.equal(value, make_again) for value, make_again in zip(one.values(), make(None).state_dict().values())
    )


def test_a_lone_linear_is_swapped_itself():
    assert isinstance(convert(nn.Linear(3, 4), layer="prp", where=".*"), PRPLinear)
    assert isinstance(convert(nn.Linear(3, 4), layer="low-rank", where=lambda *_: True, rank=1), LowRankLinear)


def test_every_option_of_a_kind_is_taken():
    options = dict(num_features=5, order=2, feature_activation="gelu", norm=False, share_projections=True)
    options |= dict(train_projections=False, init="gaussian", projection_bias=True, bias=False)
    assert set(options) <= set(layer_options("eugen"))
    converted = convert(Mlp(), layer="eugen", where="fc1", **options)
    assert converted.fc1.order == 2 and converted.fc1.bias is None and converted.fc1.projection_bias


def test_attention_is_refused_because_it_reads_weights(model):
    with pytest.raises(ValueError, match="attention.out_proj is a NonDynamicallyQuantizableLinear"):
        convert(model, layer="prp", where=".*")
    with pytest.raises(ValueError, match="linear1 belongs to a TransformerEncoderLayer, which reads its weight"):
        convert(nn.TransformerEncoderLayer(8, 2), layer="prp", where="linear1")


def test_unusable_requests_are_refused(model):
    refused = [
        (
            dict(layer="prp", where="fc9"),
            r"where='fc9' chooses no nn.Linear of Model; it has 'attention.out_proj', 'bl",
        ),
        (dict(layer="prp", where=lambda *_: False), "chooses no nn.Linear"),
        (dict(layer="prp", where=7), "where is 7; it must be a regular expression or a predicate"),
        (dict(layer="prp", where=None), "where is None"),
        (dict(layer="prp", where="("), "is not a regular expression"),
        (dict(layer="prp", where="head", num_features=3), "prp layers have no option 'num_features'"),
        (dict(layer="sparse", where="head"), "layer is 'sparse'"),
        (dict(layer="eugen", where="head", num_features=0), "num_features is 0"),
        (dict(layer="eugen", where="head", seed=-1), "seed is -1"),
    ]
    for arguments, message in refused:
        with pytest.raises(ValueError, match=message):
            convert(model, **arguments)
    with pytest.raises(ValueError, match="chooses no nn.Linear of Tanh; it has none"):
        convert(nn.Tanh(), layer="prp", where=".*")


def test_tied_weights_are_refused():
    two = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    two[1].weight = two[0].weight
    with pytest.raises(ValueError, match="0 shares its weight with 1.weight"):
        convert(two, layer="prp", where=".*")
    layer = nn.Linear(4, 4)
    with pytest.raises(ValueError, match="0 shares its weight with 1.weight"):
        convert(nn.Sequential(layer, layer), layer="prp", where="0")


# whole transformers


def load_example():
    spec = importlib.util.spec_from_file_location("convert_transformer", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    return example


def numbers(module):
    return sum(value.numel() for value in (*module.parameters(), *module.buffers()))


def assert_close_to_rounding(folded, module, *inputs):
    with torch.no_grad():
        expected = module(*inputs)
        assert float(expected.abs().max()) > 0
        torch.testing.assert_close(folded(*inputs), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_feed_forward_blocks_of_a_vision_transformer():
    import torchvision

    torch.manual_seed(0)
    vit = torchvision.models.VisionTransformer(16, 4, 3, 2, 24, 96).eval()
    nn.init.normal_(vit.heads.head.weight, std=0.02)  # zero at the start, and then every output is
    converted = convert(vit, layer="eugen", where=r".*encoder_layer_[12]\.mlp\.0", num_features=8, seed=0)
    folded = fold(converted)
    assert sum(isinstance(module, FoldedMLP) for module in folded.modules()) == 2
    assert_close_to_rounding(folded, converted, torch.randn(2, 3, 16, 16))


def test_six_feed_forward_blocks_of_vit_b_16():
    import torchvision

    with torch.device("meta"):  # its sizes alone
        vit = torchvision.models.vit_b_16(weights=None).eval()
    converted = convert(vit, layer="eugen", where=r".*encoder_layer_([6-9]|1[01])\.mlp\.0", num_features=64, seed=0)
    folded = fold(converted)
    assert sum(isinstance(module, FoldedMLP) for module in folded.modules()) == 6
    dense = 768 * 3072 + 3072 + 3072 * 768 + 768
    eugen = 64 * (768 + 1) + 3072 * 64 + 3072 + 3072 * 768 + 768
    merged = 64 * (768 + 1) + 64 + 768 * 64 + 768
    assert numbers(vit) == 86_567_656
    assert numbers(converted) == numbers(vit) - 6 * (dense - eugen)
    assert numbers(folded) == numbers(vit) - 6 * (dense - merged)
    # the paper: -30 % for six blocks, and 346 -> 197 MB, which is -43 % and what eight blocks give
    assert numbers(folded) / numbers(vit) == pytest.approx(0.68, abs=0.005)
    assert 4e-6 * (numbers(vit) - 8 * (dense - merged)) == pytest.approx(198.3, abs=0.1)


def test_gpt_2_shape():
    torch.manual_seed(0)
    gpt = load_example().GPT(depth=3, width=16, heads=2, vocabulary=31).eval()
    converted = convert(gpt, layer="eugen", where=r"blocks\.[12]\.mlp\.0", num_features=4, seed=0)
    folded = fold(converted)
    assert [type(block.mlp[0]) for block in folded.blocks] == [nn.Linear, FoldedMLP, FoldedMLP]
    assert folded.head.weight is folded.tokens.weight and converted.head.weight is converted.tokens.weight
    assert_close_to_rounding(folded, converted, torch.randint(31, (2, 7)))
    dense, merged = 16 * 64 + 64 + 64 * 16 + 16, 4 * (16 + 1) + 4 + 16 * 4 + 16
    assert numbers(folded) == numbers(gpt) - 2 * (dense - merged)
    with pytest.raises(ValueError, match="head shares its weight with tokens.weight"):
        convert(gpt, layer="prp", where="head")


def test_converted_models_train():
    torch.manual_seed(0)
    model = convert(load_example().GPT(2, 16, 2, 31), layer="eugen", where=r"blocks\..*\.mlp\.0", num_features=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    tokens = torch.randint(31, (4, 9))
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
