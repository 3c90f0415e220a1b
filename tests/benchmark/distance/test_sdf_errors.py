"""Errors of signed distance fields: 0 for the truth, as large as what was added to it, and CHOMP's cost by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from support.distance_truths import write_truth

from eugen_fields.benchmark.distance.distance_truth import DistanceTruth
from eugen_fields.benchmark.distance.sdf_errors import (
    BINS,
    collision_cost,
    evaluate,
    gradient_error,
    sdf_errors,
    visible_error_cm,
)

ROOM = Path(__file__).parents[3] / "scenes" / "room"


@pytest.fixture(scope="module", params=["box", "room"])
def truth(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DistanceTruth:
    return DistanceTruth.load(write_truth(tmp_path_factory.mktemp("box")) if request.param == "box" else ROOM)


def flat(errors: dict) -> list[float]:
    """All errors but the bias."""
    names = ("visible_cm", "surface_cm", "free_cm")
    means = [entry["mean_cm"] for entry in errors["bins"] if entry["count"]]
    return [errors[name] for name in names] + means


def test_the_truth_has_no_error(truth: DistanceTruth) -> None:
    """The distances of the room are those of a finer mesh: 0.03 mm off."""
    errors = sdf_errors(truth.mesh.distance, truth)
    assert max(flat(errors)) < 0.006 and max(errors["collision_cm"].values()) < 0.003


def test_three_centimetres_more_are_three_centimetres(truth: DistanceTruth) -> None:
    errors = sdf_errors(lambda points: truth.mesh.distance(points) + 0.03, truth)
    assert flat(errors) == pytest.approx([3.0] * len(flat(errors)), abs=0.005)
    assert errors["visible_bias_cm"] == pytest.approx(3.0, abs=0.005)
    less = sdf_errors(lambda points: truth.mesh.distance(points) - 0.03, truth)
    assert less["visible_bias_cm"] == pytest.approx(-3.0, abs=0.005) and less["visible_cm"] == pytest.approx(
        3, abs=5e-3
    )
    assert visible_error_cm(lambda points: truth.mesh.distance(points) + 0.03, truth) == errors["visible_cm"]


def test_bins_hold_every_point_once_and_their_mean_is_that_of_all(truth: DistanceTruth) -> None:
    known = torch.arange(len(truth)) % 3 == 0
    errors = sdf_errors(lambda points: 1.1 * truth.mesh.distance(points), truth, known=known)
    bins = errors["bins"]
    assert sum(entry["count"] for entry in bins) == len(truth) and [entry["low_m"] for entry in bins] == [*BINS[:-1]]
    assert bins[-1]["high_m"] is None
    for count, mean, whole in (("count", "mean_cm", "visible_cm"), ("known_count", "known_cm", "known_cm")):
        total = sum(entry[count] * entry[mean] for entry in bins if entry[count])
        assert total / sum(entry[count] for entry in bins) == pytest.approx(errors[whole], rel=1e-9)
    for entry in bins[1:]:
        if entry["count"]:
            assert 10 * entry["low_m"] - 0.1 < entry["mean_cm"] < 10 * (entry["high_m"] or 2.0) + 0.1
    part = truth.part(known)
    assert visible_error_cm(lambda points: 1.1 * truth.mesh.distance(points), part) == pytest.approx(errors["known_cm"])


def test_collision_cost_by_hand() -> None:
    cost = collision_cost(torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5]), 1.0)
    assert cost.tolist() == pytest.approx([1.0, 0.5, 0.125, 0.0, 0.0])
    assert collision_cost(torch.tensor([-0.1, 0.5]), 2.0).tolist() == pytest.approx([1.1, 0.5625])
    distances = torch.linspace(-1, 3, 4001)  # continuous, and steeper than -1 nowhere
    slopes = collision_cost(distances.double(), 1.5).diff() / distances.double().diff()
    assert slopes.min() > -1.001 and slopes.max() < 1e-9


def test_collision_costs_are_compared_by_their_absolute_difference(truth: DistanceTruth) -> None:
    expected = (
        collision_cost(truth.distances.double() + 0.1, 1.5) - collision_cost(truth.distances.double(), 1.5)
    ).abs()
    errors = sdf_errors(lambda points: truth.mesh.distance(points) + 0.1, truth)
    assert errors["collision_cm"]["1.5"] == pytest.approx(100 * float(expected.mean()), abs=0.005)
    assert list(errors["collision_cm"]) == ["1", "1.5", "2"]


def test_gradients_are_compared_by_direction(truth: DistanceTruth) -> None:
    def along(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        offsets = points - truth.mesh.nearest(points)
        return offsets.norm(dim=-1), offsets  # any length will do

    assert gradient_error(along, truth) < 1e-5
    assert gradient_error(lambda points: (along(points)[0], -along(points)[1]), truth) == pytest.approx(2, abs=1e-5)
    assert gradient_error(lambda points: (along(points)[0], torch.zeros_like(points)), truth) == pytest.approx(1.0)
    errors = sdf_errors(truth.mesh.distance, truth, along)
    assert errors["gradient_cosine_distance"] == gradient_error(along, truth)


def test_chunks_change_nothing_and_graphs_are_not_kept(truth: DistanceTruth) -> None:
    sizes, weight = [], torch.ones(3, requires_grad=True)

    def sdf(points: torch.Tensor) -> torch.Tensor:
        sizes.append(len(points))
        return points @ weight

    points = torch.rand(40_000, 3)
    values = evaluate(sdf, points)
    assert len(sizes) > 2 and max(sizes) < 20_000 and not values.requires_grad
    torch.testing.assert_close(values, points.sum(dim=-1).double())


def test_nothing_to_measure_and_fields_that_diverged_give_no_number(truth: DistanceTruth) -> None:
    nothing = truth.part(torch.zeros(len(truth), dtype=torch.bool))
    assert math.isnan(visible_error_cm(truth.mesh.distance, nothing))
    errors = sdf_errors(lambda points: torch.full_like(points[:, 0], torch.nan), truth)
    assert math.isnan(errors["visible_cm"]) and all(math.isnan(value) for value in errors["collision_cm"].values())
