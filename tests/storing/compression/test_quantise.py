"""Rounding a whole field on its own activations, steps by sensitivity, and fine-tuning."""

import math

import pytest
import torch
from support.stored_runs import KINDS, MAKE_RUN, camera, distance_run, full, radiance_run

from eugen_fields.storing.compression.allocation import sensitivity
from eugen_fields.storing.compression.numbers import get_numbers, set_numbers
from eugen_fields.storing.compression.quantise import Quantised, quantise
from eugen_fields.storing.compression.rounding import grid_of_bits
from eugen_fields.storing.compression.targets import DistanceTarget, RenderTarget
from eugen_fields.storing.compression.tuning import tune


def target_of(stored, seed=0):
    if stored.kind == "distance":
        return DistanceTarget(stored, num_points=2000, batch_points=500, seed=seed)
    return RenderTarget(stored, [camera().rays], num_pixels=600, batch_samples=1500, seed=seed)


def prepared(what, folder, **options):
    """Draft, full field, a field to work on, and the target of a run."""
    draft, stored = full(MAKE_RUN[what](folder, **options))
    return draft, stored, draft.open().field, target_of(stored)


def plainly(draft, bits):
    return Quantised({n: grid_of_bits(draft.numbers[n], bits).rounded(draft.numbers[n]) for n in draft.matrices})


@pytest.mark.parametrize("what", MAKE_RUN)
def test_the_field_itself_has_no_loss(what, tmp_path):
    _, stored, work, target = prepared(what, tmp_path, layer="eugen", num_features=8)
    assert len(target.batches) > 1 and target.mean_loss(stored.field) < 1e-12
    assert target.mean_loss(work) < 1e-12


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", MAKE_RUN)
def test_rounding_on_activations_beats_plain_rounding(what, kind, tmp_path):
    draft, stored, work, target = prepared(what, tmp_path, **KINDS[kind])
    found = quantise(stored.field, work, target, lambda name, matrix, matter: grid_of_bits(matrix, 4, matter))
    assert set(found.matrices) == set(draft.matrices)
    with_care = target.mean_loss(work)
    loaded = draft.open(found)
    assert target.mean_loss(loaded.field) == pytest.approx(with_care, rel=0.1), "the file holds something else"
    assert all(bits <= 4 for bits in loaded.bits.values())
    set_numbers(work, draft.numbers)
    set_numbers(work, plainly(draft, 4).numbers())
    assert with_care < target.mean_loss(work)


@pytest.mark.parametrize("what", MAKE_RUN)
def test_eight_bits_hardly_change_a_field(what, tmp_path):
    _, stored, work, target = prepared(what, tmp_path, layer="eugen", num_features=8)
    losses = []
    for bits in (4, 6, 8):
        set_numbers(work, {name: get_numbers(stored.field, name) for name in full_names(stored.field)})
        quantise(stored.field, work, target, lambda name, m, matter, bits=bits: grid_of_bits(m, bits, matter))
        losses.append(target.mean_loss(work))
    assert losses[2] < losses[1] / 4 < losses[0] / 16


def full_names(field):
    """Names of all matrices of a field."""
    return [
        f"{network}.{index}.{name.replace('weight_', 'weight.')}"
        for network in ("trunk", "color_head")
        if hasattr(field, network)
        for index, stage in enumerate(getattr(field, network).stages)
        for name, value in stage.named_buffers()
        if name not in ("seed", "projection")
    ]


def test_sensitivity_is_the_curvature_of_the_loss(tmp_path):
    draft, stored, work, target = prepared("distance", tmp_path, layer="dense")
    name = "trunk.1.weight.f1"
    found = sensitivity(stored.field, work, target, list(draft.numbers), seed=0).rows[name]
    generator, expected = torch.Generator().manual_seed(3), torch.zeros_like(found)
    matrix = draft.numbers[name]
    for row in range(4):
        losses = []
        for _ in range(40):
            noise = torch.zeros_like(matrix)
            noise[row] = 1e-3 * torch.randn(matrix.shape[1], generator=generator)
            set_numbers(work, {name: matrix + noise})
            losses.append(target.mean_loss(work) / 1e-6 / matrix.shape[1])
        expected[row] = sum(losses) / len(losses)
    ratio = found[:4] / expected[:4]
    assert bool(((ratio > 0.5) & (ratio < 2.0)).all()), ratio


def test_steps_follow_sensitivity(tmp_path):
    draft, stored, work, target = prepared("radiance", tmp_path, layer="eugen", num_features=8)
    found = sensitivity(stored.field, work, target, list(draft.numbers), seed=0)
    for name in draft.matrices:
        coarse, fine = (found.grid(name, 1e-3 * draft.numbers[name], fineness) for fineness in (0.4, 0.1))
        ratio = coarse.scales / fine.scales
        assert bool(((ratio > 2.5) & (ratio < 6.5)).all())
        order = found.rows[name].argsort()
        assert float(coarse.scales[order[0]]) >= float(coarse.scales[order[-1]])
    for name in set(draft.numbers) - set(draft.matrices):
        step = found.vector_step(name, 0.1)
        assert math.frexp(step)[0] == 0.5, "not a power of two"


@pytest.mark.parametrize("make", [radiance_run, distance_run])
def test_tuning_lowers_the_loss_and_is_repeatable(make, tmp_path):
    draft, stored = full(make(tmp_path, layer="eugen", num_features=8))
    target = target_of(stored)
    grids, steps = {}, {name: 2.0**-8 for name in draft.numbers if name not in draft.matrices}
    found = []
    for _ in range(2):
        work = draft.open().field

        def choose(name, matrix, matter):
            grids[name] = grid_of_bits(matrix, 3, matter)
            return grids[name]

        start = quantise(stored.field, work, target, choose)
        start = Quantised(start.matrices, {name: start.vectors.get(name, draft.numbers[name]) for name in steps})
        set_numbers(work, start.vectors)
        before = target.mean_loss(work)
        tuned = tune(work, start, grids, steps, target, 150, seed=0)
        assert target.mean_loss(work) < before
        found.append(draft.encode(tuned))
    assert found[0] == found[1]
