"""Where the entries of a folded state dict come from: true, and nothing left out."""

import pytest
import torch
from support.fold_checks import KINDS, WIDTH, build, perturbed
from torch import nn

from eugen_fields.layers import MLP, EUGenLinear, ExplicitEUGenLinear, LowRankLinear, PRPLinear, fold, folded_names


class Mixed(nn.Module):
    """Layers of ours beside parameters, buffers and layers of others, at several depths."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("shift", torch.rand(5))
        self.body = MLP(5, 4, WIDTH, 5, num_features=4, seed=1)
        self.prp = PRPLinear(5, 5, rank=1, seed=3)
        self.fc1, self.fc2 = EUGenLinear(5, 9, num_features=4, seed=2), nn.Linear(9, 5)
        self.tail = nn.Sequential(nn.LayerNorm(5), LowRankLinear(5, 4, rank=2, seed=1), nn.Linear(4, 4))

    def forward(self, x):
        h = self.scale * self.body(x) + self.shift + self.prp(x)
        return self.tail(self.fc2(self.fc1(h)))


NETWORKS = {name: (lambda name=name: build(name, skip_connections=(3,))) for name in KINDS}
NETWORKS |= {
    "fixed projections": lambda: build("eugen", order=2, train_projections=False),
    "no bias": lambda: build("eugen", bias=False),
    "several kinds": lambda: perturbed(Mixed()),
    "prp between": lambda: perturbed(
        nn.Sequential(EUGenLinear(5, 9, num_features=3, seed=1), PRPLinear(9, 8, seed=2), nn.Linear(8, 4))
    ),
    "explicit": lambda: perturbed(
        nn.Sequential(ExplicitEUGenLinear(5, 9, num_features=3, order=2, seed=1), nn.Linear(9, 4))
    ),
    "explicit, projections of its own": lambda: perturbed(
        ExplicitEUGenLinear(5, 4, num_features=3, separate_projections=True, bias=False, seed=1)
    ),
    "one eugen": lambda: perturbed(EUGenLinear(5, 4, num_features=3, seed=1)),
}


WITH_SEEDS = ("prp", "prp rank", "several kinds", "prp between", "fixed projections")


@pytest.mark.parametrize(
    "make, materialise",
    [pytest.param(make, True, id=name) for name, make in NETWORKS.items()]
    + [pytest.param(NETWORKS[name], False, id=f"{name}, seeds") for name in WITH_SEEDS],
)
def test_an_entry_changes_exactly_with_the_entries_it_names(make, materialise):
    module = make()
    folded = fold(module, materialise=materialise)
    names, before = folded_names(folded), folded.state_dict()
    assert set(names) == set(before)
    original = {name: value.clone() for name, value in module.state_dict().items()}
    for entry, value in original.items():
        # every entry by a factor of its own: the norm of [W b] has a form in which a factor of W changes nothing else
        factors = torch.linspace(1.05, 1.3, value.numel()).view_as(value)
        changed = value * factors if value.is_floating_point() else value + 123_456_789
        module.load_state_dict({**original, entry: changed})
        after = fold(module, materialise=materialise).state_dict()
        moved = {name for name in before if not torch.allclose(after[name], before[name], rtol=1e-9, atol=1e-12)}
        assert moved == {name for name, sources in names.items() if entry in sources}


def test_what_is_not_folded_keeps_its_name():
    folded = fold(Mixed())
    names = folded_names(folded)
    for name in ("scale", "shift", "tail.0.weight", "tail.0.bias", "tail.2.weight", "tail.2.bias"):
        assert names[name] == (name,)
    assert names["fc1.stages.1.weight_f1"] == ("fc2.weight", "fc1.weight")
    assert not any(name.startswith("fc2.") for name in names)


def test_names_survive_a_second_folding():
    once = fold(Mixed())
    assert folded_names(fold(once)) == folded_names(once)
