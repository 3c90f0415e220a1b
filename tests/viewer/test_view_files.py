"""What the viewer saves: paths of the camera, images, videos, curves."""

from __future__ import annotations

import math

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from support.view_helpers import camera, write_run

from eugen_viewer.curves import draw_curves, read_curves
from eugen_viewer.opened import OpenedRun
from eugen_viewer.pictures.cameras import View
from eugen_viewer.pictures.paths import through, turntable
from eugen_viewer.pictures.sdf_slice import sdf_slice
from eugen_viewer.pictures.video import encode_image, encode_video


def test_a_turntable_keeps_its_distance_and_looks_at_its_center():
    start, center = View.of_camera(camera(0.4)[0]), np.zeros(3)
    views = turntable(start, center, 8)
    np.testing.assert_allclose(views[0].pose, start.pose, atol=1e-12)
    for view in views:
        assert math.isclose(np.linalg.norm(view.position), 3.0, rel_tol=1e-6)
        assert math.isclose(view.position[2], start.position[2], rel_tol=1e-6)
        np.testing.assert_allclose(view.pose[:, 2], view.position / 3.0, atol=1e-6)
    angles = np.unwrap([math.atan2(view.position[1], view.position[0]) for view in views])
    np.testing.assert_allclose(np.diff(angles), math.pi / 4, atol=1e-6)


def test_a_path_goes_through_all_views_and_stays_a_rotation():
    views = [View.of_camera(camera(angle)[0]) for angle in (0.0, 0.5, 1.2)]
    path = through(views, 9)
    for index, view in ((0, views[0]), (4, views[1]), (8, views[2])):
        np.testing.assert_allclose(path[index].pose, view.pose, atol=1e-6)
    for view in path:
        np.testing.assert_allclose(view.pose[:, :3] @ view.pose[:, :3].T, np.eye(3), atol=1e-6)
    with pytest.raises(ValueError, match="1 views"):
        through(views[:1], 9)


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_videos_can_be_read_back(tmp_path, kind):
    frames = [np.full((33, 47, 3), 40 + 20 * index, np.uint8) for index in range(6)]
    path = tmp_path / f"video.{kind}"
    path.write_bytes(encode_video(frames, 12, kind))
    back = iio.imread(path, plugin="pyav" if kind == "mp4" else None)
    assert len(back) == 6
    assert [round(float(frame.mean()), -1) for frame in back] == [40.0 + 20 * index for index in range(6)]
    with pytest.raises(ValueError, match="'webm'"):
        encode_video(frames, 12, "webm")


def test_an_image_is_kept_bit_for_bit():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(iio.imread(encode_image(pixels)), pixels)


def test_curves_are_those_of_the_event_files(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    assert read_curves(tmp_path) == {} and draw_curves({"": {}}) == ""
    for steps in ((0, 10), (10, 20)):  # a run and its continuation
        with SummaryWriter(str(tmp_path)) as writer:
            for step in steps:
                writer.add_scalar("Train Metrics Dict/psnr", 20.0 + step, step)
    curves = read_curves(tmp_path)
    assert curves == {"Train Metrics Dict/psnr": ([0, 10, 20], [20.0, 30.0, 40.0])}
    assert draw_curves({"left": curves, "right": {}}).startswith("![curves](data:image/png;base64,")


def test_a_slice_has_rows_along_y_and_a_line_at_the_surface(tmp_path):
    run = OpenedRun(write_run(tmp_path / "run", "isdf"), "cpu").shown.run
    image = sdf_slice(run, 0.0, longest=100)
    assert image.shape == (100, 100, 3)
    x, y = np.meshgrid(np.linspace(-1, 1, 100), np.linspace(-1, 1, 100))
    black = image.max(axis=-1) == 0
    points = torch.tensor(np.stack([x, y, 0 * x], axis=-1)[black]).float()
    assert black.any() and run.field.sdf(points).abs().max() < 0.05
