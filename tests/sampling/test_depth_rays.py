"""Rays and samples of depth images: exact on planes and spheres, fair draws, the right laws along rays."""

import math

import pytest
import torch
from support.depth_scenes import image_rays, look_at, plane_depths, ring_of_cameras, sphere_depths

from eugen_fields.sampling import depth_rays, sample_depth_rays
from eugen_fields.sampling.depth_rays import camera_directions, depth_normals, draw_pixels, pixel_rays

HEIGHT, WIDTH = 30, 40
INTRINSICS = torch.tensor([35.0, 33.0, 19.0, 16.5], dtype=torch.float64)  # neither square nor centred
POSE = look_at(torch.tensor([1.0, -2.0, 1.5], dtype=torch.float64), torch.tensor([0.2, 0.1, 0.3], dtype=torch.float64))
NORMAL = torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64)
NORMAL = NORMAL / NORMAL.norm()
OFFSET = -0.4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def plane():
    return plane_depths(POSE, INTRINSICS, HEIGHT, WIDTH, NORMAL, OFFSET)


def plane_rays(per_frame=300, depths=None, seed=0, **options):
    depths = plane() if depths is None else depths
    return depth_rays(depths, INTRINSICS[None], POSE[None], torch.tensor([0]), per_frame, seeded(seed), **options)


def test_a_pixel_looks_where_the_pinhole_camera_says():
    direction = camera_directions(torch.tensor([3]), torch.tensor([7]), INTRINSICS)[0]
    expected = [(7.5 - 19.0) / 35.0, -(3.5 - 16.5) / 33.0, -1.0]  # OpenGL: y up, looking along -z
    torch.testing.assert_close(direction, torch.tensor(expected, dtype=torch.float64))


def test_rays_turn_with_the_pose_and_have_unit_length():
    rows, columns = torch.tensor([3, 20]), torch.tensor([7, 31])
    origins, directions, stretch = pixel_rays(rows, columns, INTRINSICS, POSE)
    camera = camera_directions(rows, columns, INTRINSICS)
    torch.testing.assert_close(directions * stretch[:, None], camera @ POSE[:3, :3].T)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(2, dtype=torch.float64))
    assert torch.equal(origins, POSE[:3, 3].expand(2, 3))
    own = pixel_rays(rows, columns, INTRINSICS.expand(2, 4), POSE[:3].expand(2, 3, 4))
    for value, expected in zip(own, (origins, directions, stretch)):
        torch.testing.assert_close(value, expected)


def test_z_depth_is_along_the_axis_and_distances_are_along_the_rays():
    rays = plane_rays()
    assert len(rays.distances) == 300
    torch.testing.assert_close(rays.surface() @ NORMAL, torch.full_like(rays.distances, OFFSET), rtol=0, atol=1e-12)
    z_depth = -(rays.surface() - POSE[:3, 3]) @ POSE[:3, 2]
    assert float((rays.distances / z_depth).max()) > 1.1  # the test would not tell them apart on a narrow camera
    cosine = -(rays.directions @ POSE[:3, 2])
    torch.testing.assert_close(rays.distances * cosine, z_depth)


def test_points_along_rays_are_at_their_distances():
    rays = plane_rays(5)
    points = rays.at(torch.tensor([[0.0, 0.5, 2.0]], dtype=torch.float64).expand(5, 3))
    assert torch.equal(points[:, 0], rays.origins)
    torch.testing.assert_close((points[:, 2] - rays.origins).norm(dim=-1), torch.full_like(rays.distances, 2.0))
    torch.testing.assert_close(points[:, 1], rays.origins + 0.5 * rays.directions)


def test_every_pixel_with_a_depth_is_drawn_as_often():
    depths = torch.ones(1, 4, 5)
    depths[0, 1] = 0.0
    depths[0, 2, 3], depths[0, 3, 0] = float("nan"), float("inf")
    depths[0, 0, 0], depths[0, 0, 1] = 0.05, 9.0
    depths[0, 0, 2], depths[0, 3, 4] = -1.0, 8.0  # 8.0 is the end of the range, and in it
    total = 40_000
    frames, rows, columns = draw_pixels(depths, torch.tensor([0]), total, seeded(), max_depth=8.0)
    valid = torch.zeros(4, 5, dtype=torch.bool)
    valid[0, 3:], valid[2, [0, 1, 2, 4]], valid[3, 1:] = True, True, True
    counts = torch.bincount(rows * 5 + columns, minlength=20).view(4, 5)
    assert torch.equal(counts > 0, valid)
    # half of the pixels are empty: one in 2^8 of the draws finds none of 8
    share = float(len(frames)) / total
    missing = 0.5**8
    assert abs(1.0 - share - missing) < 5.0 * math.sqrt(missing / total)
    expected = len(frames) / 10
    assert float((counts[valid] - expected).abs().max()) < 5.0 * math.sqrt(expected)


def test_images_without_depth_give_no_rays():
    depths = torch.zeros(2, 5, 6)
    depths[1] = 2.0
    frames, _, _ = draw_pixels(depths, torch.tensor([0, 1]), 7, seeded())
    assert frames.tolist() == [1] * 7
    rays = depth_rays(depths, INTRINSICS.float().expand(2, 4), POSE.float().expand(2, 4, 4), torch.tensor([0]), 7)
    assert [len(value) for value in rays] == [0] * 5


def test_only_the_frames_asked_for_are_drawn_and_each_as_often():
    poses = ring_of_cameras(4, 3.0)
    intrinsics = INTRINSICS.float().expand(4, 4)
    depths = torch.full((4, HEIGHT, WIDTH), 2.0)
    rays = depth_rays(depths, intrinsics, poses, torch.tensor([3, 1]), 6, seeded())
    assert rays.frames.tolist() == [3] * 6 + [1] * 6
    assert torch.equal(rays.origins, poses[rays.frames][:, :3, 3])


def test_the_same_seed_gives_the_same_rays_and_another_others():
    first, again, other = plane_rays(seed=4), plane_rays(seed=4), plane_rays(seed=5)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first.directions, other.directions)
    samples = [sample_depth_rays(first.distances, seeded(seed)) for seed in (1, 1, 2)]
    assert torch.equal(samples[0], samples[1]) and not torch.equal(samples[0][:, 1:], samples[2][:, 1:])


def all_normals(depths, **options):
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    frames = torch.zeros(HEIGHT * WIDTH, dtype=torch.long)
    return depth_normals(depths, frames, rows.flatten(), columns.flatten(), INTRINSICS, **options).view(
        HEIGHT, WIDTH, 3
    )


def border():
    mask = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    mask[1:-1, 1:-1] = False
    return mask


@pytest.mark.parametrize("slant", [0.0, 0.7, 1.4])
def test_normals_of_planes_are_exact_however_slanted(slant):
    normal = torch.tensor([math.sin(slant), 0.2, math.cos(slant)], dtype=torch.float64)
    normal = normal / normal.norm()
    identity = torch.eye(4, dtype=torch.float64)
    depths = plane_depths(identity, INTRINSICS, HEIGHT, WIDTH, normal, -2.0)
    normals = all_normals(depths, max_jump=1e-6)
    seen = depths[0] > 0
    # a pixel is inside if its neighbours are seen as well
    inside = seen[1:-1, 1:-1] & seen[:-2, 1:-1] & seen[2:, 1:-1] & seen[1:-1, :-2] & seen[1:-1, 2:]
    assert int(inside.sum()) > 300
    torch.testing.assert_close(normals[1:-1, 1:-1][inside], normal.expand(int(inside.sum()), 3))
    assert not bool(normals[1:-1, 1:-1][~inside].any())
    assert not bool(normals[border()].any())


def test_normals_of_rays_are_in_the_world_and_face_the_camera():
    rays = plane_rays()
    known = rays.normals.norm(dim=-1) > 0
    assert 0.8 < float(known.double().mean()) < 1.0
    torch.testing.assert_close(rays.normals[known], NORMAL.expand(int(known.sum()), 3))
    assert bool(((rays.normals * rays.directions).sum(dim=-1)[known] < 0).all())


def test_normals_of_a_sphere_point_outwards():
    poses = ring_of_cameras(3, 2.0, torch.float64)
    intrinsics = torch.tensor([300.0, 300.0, 150.0, 150.0], dtype=torch.float64).expand(3, 4)
    depths = sphere_depths(poses, intrinsics, 300, 300, 0.6)
    rays = depth_rays(depths, intrinsics, poses, torch.arange(3), 500, seeded())
    torch.testing.assert_close(rays.surface().norm(dim=-1), torch.full_like(rays.distances, 0.6))
    known = rays.normals.norm(dim=-1) > 0
    assert float(known.double().mean()) > 0.9
    cosine = (rays.normals * rays.surface()).sum(dim=-1)[known] / 0.6
    assert float(cosine.min()) > 0.97 and float(cosine.median()) > 0.9999


def test_normals_are_unknown_at_jumps_holes_and_borders_and_nowhere_else():
    depths = torch.full((1, HEIGHT, WIDTH), 2.0, dtype=torch.float64)
    depths[0, :, 20:] = 2.2  # a step: both of its sides are next to it
    depths[0, 10, 5] = 0.0
    depths[0, 20, 8] = float("nan")
    depths[0, 25, 30] = float("inf")
    unknown = border()
    unknown[:, 19:21] = True
    for row, column in ((10, 5), (20, 8), (25, 30)):
        unknown[row, column - 1 : column + 2] = True
        unknown[row - 1 : row + 2, column] = True
    normals = all_normals(depths)
    assert torch.equal(normals.norm(dim=-1) == 0, unknown)
    facing = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(normals[~unknown], facing.expand(int((~unknown).sum()), 3))
    lenient = all_normals(depths, max_jump=0.2)
    assert bool((lenient[5, 19:21].norm(dim=-1) > 0).all())


@pytest.mark.parametrize("height, width", [(1, 5), (2, 2), (5, 1)])
def test_images_too_small_for_normals_have_none(height, width):
    zeros = torch.zeros(3, dtype=torch.long)
    normals = depth_normals(torch.ones(1, height, width), zeros, zeros, zeros, INTRINSICS.float())
    assert torch.equal(normals, torch.zeros(3, 3))


def test_the_first_sample_is_the_surface_itself():
    distances = torch.tensor([0.8, 2.0, 5.0])
    samples = sample_depth_rays(distances, seeded())
    assert samples.shape == (3, 1 + 7 + 19)
    assert torch.equal(samples[:, 0], distances)


def test_samples_around_the_surface_are_normal():
    distances = torch.full((4000,), 3.0, dtype=torch.float64)
    around = sample_depth_rays(distances, seeded(), spread=0.2)[:, 1:8] - 3.0
    count = around.numel()
    assert abs(float(around.mean())) < 4.0 * 0.2 / math.sqrt(count)
    assert abs(float(around.var()) / 0.04 - 1.0) < 4.0 * math.sqrt(2.0 / count)
    for spreads, share in ((1.0, 0.6827), (2.0, 0.9545)):
        error = math.sqrt(share * (1.0 - share) / count)
        assert abs(float((around.abs() < 0.2 * spreads).double().mean()) - share) < 4.0 * error
    # no two columns are the same draws
    correlations = torch.corrcoef(around.T) - torch.eye(7, dtype=torch.float64)
    assert float(correlations.abs().max()) < 5.0 / math.sqrt(4000)


def test_stratified_samples_fill_their_parts_evenly():
    distances = torch.full((4000,), 3.0, dtype=torch.float64)
    stratified = sample_depth_rays(distances, seeded(), near=0.5, beyond=0.25, num_stratified=11)[:, 8:]
    place = (stratified - 0.5) / (3.25 - 0.5) * 11 - torch.arange(11)
    assert float(place.min()) >= 0.0 and float(place.max()) <= 1.0
    assert float((place.mean(dim=0) - 0.5).abs().max()) < 4.5 * math.sqrt(1.0 / 12.0 / 4000)
    assert float((place.var(dim=0) * 12.0 - 1.0).abs().max()) < 0.1
    assert float(place.min()) < 1e-3 and float(place.max()) > 1.0 - 1e-3


def test_no_sample_is_behind_the_camera():
    distances = torch.tensor([0.03, 0.1]).repeat(500)
    samples = sample_depth_rays(distances, seeded())
    assert float(samples.min()) == 0.0
    # the surface is nearer than where the stratified samples would begin
    assert float(samples[::2, 8:].min()) >= 0.03 and float(samples[::2, 8:].max()) <= 0.13 + 1e-6
    stratified = sample_depth_rays(distances, seeded(), near=0.5)[::2, 8:]
    assert float(stratified.min()) < 0.04 and 0.12 < float(stratified.max()) <= 0.13 + 1e-6


def test_numbers_of_samples_may_be_zero():
    distances = torch.tensor([1.0, 2.0])
    assert sample_depth_rays(distances, num_near_surface=0, num_stratified=0).tolist() == [[1.0], [2.0]]
    assert sample_depth_rays(distances, num_stratified=0).shape == (2, 8)
    assert sample_depth_rays(distances[:0]).shape == (0, 27)


def test_depth_images_and_rays_agree_pixel_for_pixel():
    # what is drawn is what the image says at that pixel, seen through the same pixel
    depths = plane()
    _, rows, columns = draw_pixels(depths, torch.tensor([0]), 200, seeded(3))
    rays = plane_rays(200, depths, seed=3)
    _, directions, stretch = image_rays(HEIGHT, WIDTH, INTRINSICS, POSE)
    pixel = rows * WIDTH + columns
    torch.testing.assert_close(rays.directions, directions[pixel])
    torch.testing.assert_close(rays.distances, (stretch * depths.flatten())[pixel])
