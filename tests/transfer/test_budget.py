"""The search of a budget: it counts what folding counts, takes the best that fits, and never does worse with more."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import pytest
import torch

from eugen_fields.errors import InputError
from eugen_fields.fields import NeRFField
from eugen_fields.models import summary
from eugen_fields.transfer import TransferOptions
from eugen_fields.transfer.budget import field_bytes, search

WIDTH = 8
OPTIONS = {
    "eugen": {"norm": False, "projection_bias": True},
    "low-rank": {},
    "snnk": {},
    "prp": {"matrix": "ternary"},
}
SIZE = {"eugen": "num_features", "low-rank": "rank", "snnk": "num_features"}


@pytest.fixture(scope="module")
def field() -> NeRFField:
    torch.manual_seed(0)
    aabb = torch.tensor([[-1.0] * 3, [1.0] * 3])
    sizes = {"num_layers": 4, "layer_width": WIDTH, "feature_dim": 6, "color_width": 8, "position_frequencies": 3}
    return NeRFField(aabb, layer="dense", skip_connections=(2,), **sizes).eval()


def alone(index, size):
    """The error of one layer replaced alone."""
    return (1.0 + index) * (0.1 if size is None else 0.3 * (1.0 - size / WIDTH))


def searched(field, limit, budget="multiplications", layer="eugen", layers=(0, 1, 2, 3)):
    """A search with errors that are known: layers differ, and each feature helps as much as the others."""

    def build(replace, size):
        sizes = {} if size is None else {SIZE[layer]: size}
        return field.trunk.with_layers(layer, replace, seed=0, **OPTIONS[layer], **sizes)

    def error(replace, size):
        (index,) = replace
        return alone(index, size)

    largest = WIDTH if layer in SIZE else None
    return search(field, layers, build, error, budget=budget, limit=limit, largest=largest), build


def with_trunk(field, trunk):
    changed = copy.deepcopy(field)
    changed.set_trunk(trunk)
    return changed


@pytest.mark.parametrize("layer", OPTIONS)
def test_costs_are_those_of_the_networks_themselves(field, layer) -> None:
    found, build = searched(field, field_bytes(field) - 1, budget="bytes", layer=layer)
    assert len(found.candidates) == 15 or layer in (
        "low-rank",
        "snnk",
    )  # one layer of those may cost more than it saves
    for candidate in found.candidates[:8]:
        real = with_trunk(field, build(candidate.replace, candidate.size))
        assert candidate.bytes == field_bytes(real) < field_bytes(field)
        assert candidate.multiplications == summary.multiplications(real)


@pytest.mark.parametrize("budget", ["multiplications", "bytes"])
def test_it_takes_the_best_that_fits_and_a_larger_budget_is_never_worse(field, budget) -> None:
    count = summary.multiplications if budget == "multiplications" else field_bytes
    whole, before = count(field), None
    for share in (0.6, 0.7, 0.8, 0.99):
        limit = int(share * whole)
        found, build = searched(field, limit, budget)
        taken = found.taken
        assert count(with_trunk(field, build(taken.replace, taken.size))) <= limit
        assert before is None or taken.predicted_error <= before
        before = taken.predicted_error
        assert before == min(candidate.predicted_error for candidate in found.candidates)


def test_no_set_of_layers_and_no_size_that_fits_is_better(field) -> None:
    limit, layers = int(0.7 * summary.multiplications(field)), (1, 2, 3)
    found, build = searched(field, limit, layers=layers)
    errors = []
    for count in range(1, 4):
        for replace, size in itertools.product(itertools.combinations(layers, count), range(1, WIDTH + 1)):
            if summary.multiplications(with_trunk(field, build(replace, size))) <= limit:
                errors.append(sum(alone(index, size) ** 2 for index in replace) ** 0.5)
    assert found.taken.predicted_error == pytest.approx(min(errors)) and len(errors) > 5


@pytest.mark.parametrize("budget", ["multiplications", "bytes"])
def test_the_smallest_that_can_be_reached_is_named_and_can_be_reached(field, budget) -> None:
    with pytest.raises(
        InputError, match=rf"--{budget} 10: no network meets it; the smallest to be reached has"
    ) as raised:
        searched(field, 10, budget)
    least = int(raised.value.message.split()[-1].rstrip(".").replace(",", ""))
    taken = searched(field, least, budget)[0].taken
    assert getattr(taken, budget) == least and taken.size == 1
    with pytest.raises(InputError, match="the smallest to be reached"):
        searched(field, least - 1, budget)


def test_a_budget_that_the_run_meets_already_is_refused(field) -> None:
    whole = summary.multiplications(field)
    with pytest.raises(InputError, match="Give a smaller budget"):
        searched(field, whole)


def test_too_many_layers_are_refused(field) -> None:
    with pytest.raises(InputError, match="at most 12 layers, but there are 13"):
        searched(field, 100, layers=tuple(range(13)))


def test_the_table_shows_the_candidates_and_which_is_taken(field) -> None:
    found, _ = searched(field, int(0.8 * summary.multiplications(field)))
    text = found.markdown()
    (taken,) = (line for line in text.splitlines() if "taken" in line)
    assert f"| {found.taken.multiplications:,} |" in taken and f"| {found.taken.bytes:,} |" in taken
    assert text.count("\n| ") == 1 + min(8, len(found.candidates))
    assert len(found.as_dict()["candidates"]) == min(8, len(found.candidates))


@pytest.mark.parametrize("name", ["../student", "/student", "a/b", "..", ".", "", "student/"])
def test_a_name_is_that_of_one_folder(name: str) -> None:
    with pytest.raises(InputError, match="--name is .*; it must be the name of one folder"):
        TransferOptions(Path("run"), name=name).check()
