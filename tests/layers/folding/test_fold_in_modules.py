"""Folding inside modules of others: pairs are found in their forward, and nothing that is not safe is folded."""

import math

import pytest
import torch
from support.fold_checks import assert_same, perturbed, values
from torch import nn

from eugen_fields.layers import EUGenLinear, LowRankLinear, PRPLinear, fold
from eugen_fields.layers.folding import FoldedMLP
from eugen_fields.layers.folding.tracing import successors


def eugen(seed=1, width=9):
    return EUGenLinear(5, width, num_features=3, seed=seed)


class Mlp(nn.Module):
    """The feed-forward block of timm's vision transformers."""

    def __init__(self, drop=0.1, norm=nn.Identity):
        super().__init__()
        self.fc1, self.act, self.drop1, self.norm = eugen(), nn.Identity(), nn.Dropout(drop), norm()
        self.fc2, self.drop2 = nn.Linear(9, 5), nn.Dropout(drop)

    def forward(self, x):
        x = self.drop1(self.act(self.fc1(x)))
        return self.drop2(self.fc2(self.norm(x)))


class Residual(Mlp):
    def forward(self, x):
        h = self.norm(self.fc1(x))
        return x + self.fc2(h)


class OutOfOrder(nn.Module):
    """Registered in another order than called; a chain of three."""

    def __init__(self):
        super().__init__()
        self.last, self.middle, self.first = nn.Linear(9, 5), EUGenLinear(9, 9, num_features=3, seed=2), eugen()

    def forward(self, x):
        return self.last(self.middle(self.first(x)))


class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([eugen(), nn.Identity(), nn.Linear(9, 5)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class OptionalScale(Mlp):
    """The optional argument does not come between the two layers, whether it is given or not."""

    def forward(self, x, scale=None):
        x = self.fc2(self.fc1(x))
        return x if scale is None else x * scale


class Remembers(Mlp):
    def forward(self, x):
        self.latest = self.fc2(self.fc1(x))
        return self.latest


def sequence():
    from torchvision.models.vision_transformer import MLPBlock  # which takes seconds to import

    return MLPBlock(5, 9, dropout=0.1)


def vision_block():
    block = sequence()
    block[0], block[1] = eugen(), nn.Identity()
    return block


PAIRS = {
    "torchvision": (vision_block, "0", "3"),
    "timm": (Mlp, "fc1", "fc2"),
    "residual": (Residual, "fc1", "fc2"),
    "out of order": (OutOfOrder, "first", "last"),
    "module list": (Listed, "layers.0", "layers.2"),
    "optional argument": (OptionalScale, "fc1", "fc2"),
    "keeps its output": (Remembers, "fc1", "fc2"),
}
every_pair = pytest.mark.parametrize("make, first, last", PAIRS.values(), ids=PAIRS)


@every_pair
def test_pairs_fold_in_place(make, first, last):
    torch.manual_seed(0)
    module = perturbed(make()).eval()
    before = set(vars(module))
    folded = fold(module)
    assert set(vars(module)) == before  # tracing leaves nothing behind
    assert type(folded) is type(module)
    assert isinstance(folded.get_submodule(first), FoldedMLP)
    assert isinstance(folded.get_submodule(last), nn.Identity)
    assert list(folded.parameters()) == []
    assert_same(folded, module, values(4, 5))
    again = fold(folded)
    assert torch.equal(again(values(4, 5)), folded(values(4, 5)))


def test_optional_arguments_still_arrive():
    module = perturbed(OptionalScale()).eval()
    x = values(4, 5)
    torch.testing.assert_close(fold(module)(x, 3.0), module(x, 3.0))


@pytest.mark.parametrize("name, last", [("eugen", nn.Linear), ("prp", PRPLinear), ("low-rank", LowRankLinear)])
def test_what_follows_may_be_any_of_our_layers(name, last):
    options = {"rank": 2} if name == "low-rank" else {"num_features": 3} if name == "eugen" else {}
    module = Mlp()
    module.fc2 = last(9, 5, **options) if last is not nn.Linear else EUGenLinear(9, 5, **options)
    module = perturbed(module).eval()
    folded = fold(module)
    assert isinstance(folded.fc1, FoldedMLP) and isinstance(folded.fc2, nn.Identity)
    assert_same(folded, module, values(4, 5))


def test_dropout_is_folded_across_only_when_it_drops_nothing():
    for drop, training, crosses in ((0.1, True, False), (0.1, False, True), (0.0, True, True)):
        module = perturbed(Mlp(drop)).train(training)
        folded = fold(module)
        assert isinstance(folded.fc1, FoldedMLP) and isinstance(folded.fc2, nn.Identity) == crosses
        assert all(child.training == training for child in folded.modules())
        assert_same(folded.eval(), module.eval(), values(4, 5))


class LinearTwice(Mlp):
    def forward(self, x):
        return self.fc2(self.fc1(x)) + self.fc2(torch.cat([x, x[..., :4]], dim=-1))


class EUGenTwice(Mlp):
    def forward(self, x):
        return self.fc2(self.fc1(x)) + self.fc1(-x)[..., :5]


class OutputTwice(Mlp):
    def forward(self, x):
        h = self.fc1(x)
        return self.fc2(h) + h[..., :5]


class WeightRead(Mlp):
    def forward(self, x):
        return self.fc2(self.fc1(x)) * self.fc2.weight.norm()


class Function(Mlp):
    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(x)))


class Branches(Mlp):
    """Cannot be traced: which way it goes depends on values."""

    def forward(self, x):
        h = self.fc1(x)
        return self.fc2(h if h.mean() > 0 else -h)


class OptionalBetween(Mlp):
    def forward(self, x, plain=None):
        h = self.fc1(x)
        if plain is None:
            h = torch.tanh(h)
        return self.fc2(h)


class SharedParts(nn.Module):
    """Two blocks that share their second layer."""

    def __init__(self):
        super().__init__()
        self.a, self.b = Mlp(), Mlp()
        self.b.fc2 = self.a.fc2

    def forward(self, x):
        return self.a(x) + self.b(x)


class TwoNames(Mlp):
    def __init__(self):
        super().__init__()
        self.alias = self.fc2

    def forward(self, x):
        return self.fc2(self.fc1(x)) + self.alias(torch.cat([x, x[..., :4]], dim=-1))


def hooked():
    module = Residual()
    module.norm.register_forward_hook(lambda module, inputs, output: 2.0 * output)
    return module


def subclassed():
    class Doubled(nn.Linear):
        def forward(self, input):
            return 2.0 * super().forward(input)

    module = Mlp()
    module.fc2 = Doubled(9, 5)
    return module


def normalised():
    module = Mlp()
    nn.utils.parametrizations.weight_norm(module.fc2)
    return module


def repeated():
    shared = nn.Linear(5, 5)
    return nn.Sequential(EUGenLinear(5, 5, num_features=3, seed=1), shared, nn.Tanh(), shared)


UNSAFE = {
    "linear used twice": LinearTwice,
    "eugen used twice": EUGenTwice,
    "output used twice": OutputTwice,
    "weight read": WeightRead,
    "function between": Function,
    "module between": lambda: Mlp(norm=lambda: nn.LayerNorm(9)),
    "branches": Branches,
    "optional argument between": OptionalBetween,
    "shared by two blocks": SharedParts,
    "two names": TwoNames,
    "hooked": hooked,
    "subclass": subclassed,
    "parametrized": normalised,
    "repeated in a sequence": repeated,
}


@pytest.mark.parametrize("make", UNSAFE.values(), ids=UNSAFE)
def test_what_is_not_safe_is_folded_layer_by_layer(make):
    torch.manual_seed(0)
    module = perturbed(make()).eval()
    folded = fold(module)
    assert_same(folded, module, values(4, 5))
    kept = {name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}
    assert kept <= {name for name, layer in folded.named_modules() if isinstance(layer, nn.Linear)}
    assert not any(isinstance(layer, EUGenLinear) for layer in folded.modules())


def test_every_module_keeps_its_own_mode():
    network = nn.Sequential(nn.Sequential(nn.BatchNorm1d(5).eval(), nn.Tanh()), eugen().eval(), nn.ReLU(), eugen(2, 4))
    folded = fold(network)
    modes = [module.training for module in (folded, folded[0], folded[0][0], folded[0][1], *folded[1:])]
    assert modes == [True, True, False, True, False, True, True]


def test_layers_with_hooks_are_left_as_they_are():
    module = Mlp().double().eval()
    module.fc1.register_forward_hook(lambda module, inputs, output: output**2)
    folded = fold(module)
    assert isinstance(folded.fc1, EUGenLinear) and isinstance(folded.fc2, nn.Linear)
    assert_same(folded, module, values(4, 5))


def test_dense_layers_in_front_keep_their_names():
    network = perturbed(nn.Sequential(nn.Linear(5, 5), eugen(), nn.Dropout(), nn.Linear(9, 4), nn.LayerNorm(4))).eval()
    folded = fold(network)
    kinds = [nn.Linear, FoldedMLP, nn.Identity, nn.Identity, nn.LayerNorm]
    assert [type(child) for child in folded] == kinds and torch.equal(folded[0].weight, network[0].weight)
    assert_same(folded, network, values(4, 5))


def test_a_sequence_that_folds_as_a_whole_is_one_folded_mlp():
    network = perturbed(nn.Sequential(eugen(), nn.Dropout(), nn.Linear(9, 4))).eval()
    assert isinstance(fold(network), FoldedMLP)
    wrapped = nn.Sequential(network, nn.Tanh())
    assert [type(child) for child in fold(wrapped)[0]] == [FoldedMLP, nn.Identity, nn.Identity]


def test_tied_parameters_and_shared_modules_stay_so():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.block, self.head = nn.Embedding(7, 5), Mlp(), nn.Linear(5, 7, bias=False)
            self.head.weight, self.again = self.tokens.weight, self.block

        def forward(self, tokens):
            return self.head(self.again(self.block(self.tokens(tokens))))

    module = Tied().eval()
    folded = fold(module)
    assert folded.head.weight is folded.tokens.weight and folded.head.weight is not module.head.weight
    assert folded.again is folded.block
    tokens = torch.arange(7)
    torch.testing.assert_close(folded(tokens), module(tokens))


def test_successors_are_read_off_the_forward():
    assert successors(Mlp()) == {"fc1": "act", "act": "drop1", "drop1": "norm", "norm": "fc2", "fc2": "drop2"}
    assert successors(OutOfOrder()) == {"first": "middle", "middle": "last"}
    assert successors(Listed()) == {"layers.0": "layers.1", "layers.1": "layers.2"}
    assert successors(sequence()) == {"0": "1", "1": "2", "2": "3", "3": "4"}
    assert successors(Branches()) == successors(OptionalBetween()) == successors(LinearTwice()) == {}
    assert successors(nn.MultiheadAttention(4, 2)) == {} == successors(nn.ModuleList([nn.Linear(1, 1)]))


def test_multiplications_of_a_feed_forward_block():
    # m d + m l instead of m d + m h + h l
    module = nn.Sequential(EUGenLinear(6, 24, num_features=4, seed=0), nn.Identity(), nn.Linear(24, 6))
    assert fold(module).multiplications() == 4 * 6 + 4 * 6 and math.prod((24, 6)) > 48
