"""Keyframes: the decision at its edges, and draws in proportion to the loss."""

import math

import pytest
import torch

from eugen_fields.mapping.keyframes import becomes_keyframe, choose_frames, depth_agreement, frame_losses


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_agreement_is_the_share_of_rays_hit_within_the_tolerance():
    measured = torch.tensor([1.0, 1.0, 1.0, 4.0, 4.0, 2.0])
    rendered = torch.tensor([1.09, 0.91, 1.11, 4.39, 3.5, 2.0])
    hits = torch.tensor([True, True, True, True, True, False])
    assert depth_agreement(rendered, hits, measured) == pytest.approx(3 / 6)
    assert depth_agreement(rendered, hits, measured, tolerance=0.2) == pytest.approx(5 / 6)


def test_no_rays_contradict_nothing():
    none = torch.zeros(0)
    assert depth_agreement(none, none.bool(), none) == 1.0


def test_keyframes_are_frames_that_disagree_or_come_late():
    assert becomes_keyframe(0.64, 0.1)
    assert not becomes_keyframe(0.65, 4.9)
    assert becomes_keyframe(1.0, 5.0)
    assert becomes_keyframe(0.8, 0.0, least_agreement=0.9)
    assert becomes_keyframe(1.0, 1.0, longest=0.5)


def test_losses_are_averaged_by_frame():
    losses = torch.tensor([1.0, 2.0, 4.0, 10.0], requires_grad=True)
    means, counts = frame_losses(losses, torch.tensor([0, 2, 2, 3]), 5)
    assert means.tolist() == [1.0, 0.0, 3.0, 10.0, 0.0] and counts.tolist() == [1, 0, 2, 1, 0]
    assert not means.requires_grad


@pytest.mark.parametrize("frames", range(9))
def test_the_newest_are_always_chosen_and_nothing_twice(frames):
    losses = torch.rand(frames, generator=seeded(1))
    for seed in range(20):
        chosen = choose_frames(losses, generator=seeded(seed)).tolist()
        assert len(chosen) == min(frames, 5) and chosen == sorted(set(chosen))
        assert chosen[-2:] == list(range(frames))[-2:]


def test_the_first_draw_is_in_proportion_to_the_loss():
    losses = torch.tensor([1.0, 2.0, 0.5, 4.0, 0.0, 9.0, 9.0])
    generator, rounds = seeded(), 4000
    counts = torch.zeros(7)
    for _ in range(rounds):
        counts[choose_frames(losses, count=1, generator=generator)] += 1
    assert counts[5:].tolist() == [rounds, rounds]
    for index in range(5):
        share = float(losses[index]) / 7.5
        error = math.sqrt(share * (1.0 - share) / rounds)
        assert abs(float(counts[index]) / rounds - share) <= 4.0 * error


def test_further_draws_are_in_proportion_among_the_rest():
    losses = torch.tensor([1.0, 2.0, 3.0, 0.0])
    generator, rounds = seeded(), 4000
    missing = torch.zeros(3)
    for _ in range(rounds):
        chosen = choose_frames(losses, newest=1, count=2, generator=generator)
        missing[[index for index in range(3) if index not in chosen.tolist()]] += 1
    chances = losses[:3] / 6.0
    for index in range(3):
        a, b = (chances[other] for other in range(3) if other != index)
        share = float(a * b / (1.0 - a) + b * a / (1.0 - b))
        error = math.sqrt(share * (1.0 - share) / rounds)
        assert abs(float(missing[index]) / rounds - share) < 4.0 * error


def test_frames_without_loss_are_drawn_where_there_are_no_others():
    assert len(choose_frames(torch.zeros(8), generator=seeded())) == 5
    losses = torch.zeros(8)
    losses[2] = 3.0
    for seed in range(10):
        chosen = choose_frames(losses, generator=seeded(seed))
        assert len(chosen) == 5 and 2 in chosen.tolist()


def test_the_same_seed_chooses_the_same():
    losses = torch.rand(50, generator=seeded(1))
    first = [choose_frames(losses, generator=seeded(3)).tolist() for _ in range(2)]
    assert first[0] == first[1] != choose_frames(losses, generator=seeded(4)).tolist()


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_losses_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="losses hold"):
        choose_frames(torch.tensor([1.0, wrong, 1.0]))
