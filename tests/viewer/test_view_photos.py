"""The photos of a run: found as data, looked through, and compared with renders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from support.view_helpers import write_run

from eugen_fields.errors import InputError
from eugen_viewer.opened import OpenedRun
from eugen_viewer.pictures.cameras import View
from eugen_viewer.pictures.photo_error import photo_error, project
from eugen_viewer.pictures.photos import find_photos


def test_photos_are_found_with_their_cameras(tmp_path, sphere_scene):
    photos = find_photos(OpenedRun(write_run(tmp_path / "run", data=sphere_scene), "cpu"))
    assert len(photos) == 12 and photos.image(0, 10).shape == (10, 10, 3)
    assert photos.image(3, 1000).max() == 255  # on white
    assert photos.some(5)[0] == 0 and photos.some(5)[-1] == 11 and len(photos.some(5)) == 5
    for index in range(12):
        view = photos.view(index)
        assert photos.nearest(view) == index
        back = View.of_browser(view.wxyz, view.position, view.fov, view.aspect)
        np.testing.assert_allclose(back.pose, view.pose, atol=1e-6)
        camera = view.camera(24)
        torch.testing.assert_close(
            camera.generate_rays(0).directions, photos.cameras.generate_rays(index).directions, rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("aspect", [0.0, float("nan")])
def test_a_page_without_a_size_has_a_view(aspect):
    view = View.of_browser(np.array([1.0, 0.0, 0.0, 0.0]), np.zeros(3), 1.0, aspect)
    assert view.aspect == 1.0 and view.width(10) == 10


def test_data_is_looked_for_around_the_run(tmp_path, sphere_scene, monkeypatch):
    home = tmp_path / "home"
    (home / "elsewhere").mkdir(parents=True)
    (home / "scene").symlink_to(sphere_scene)
    opened = OpenedRun(write_run(home / "outputs" / "run"), "cpu")
    opened.config["data"] = opened.config["pipeline"]["datamanager"]["data"] = "scene"
    monkeypatch.chdir(home / "elsewhere")
    assert len(find_photos(opened)) == 12
    opened.config["pipeline"]["datamanager"]["data"] = "gone"
    with pytest.raises(InputError, match="scene gone of the run"):
        find_photos(opened)


def test_other_data_parsers_are_not_run(tmp_path, sphere_scene):
    opened = OpenedRun(write_run(tmp_path / "run", data=sphere_scene), "cpu")
    parser = opened.config["pipeline"]["datamanager"]["dataparser"]
    parser.class_path = "nerfstudio.data.dataparsers.colmap_dataparser.ColmapDataParserConfig"
    with pytest.raises(InputError, match="ColmapDataParserConfig"):
        find_photos(opened)
    parser.class_path = "some.where.Parser"
    with pytest.raises(InputError, match="some.where.Parser"):
        find_photos(opened)


@pytest.mark.parametrize("distortion", [None, [0.1, -0.05, 0.01, 0.0, 0.004, -0.003]])
def test_projection_is_the_inverse_of_the_camera(distortion):
    pose = torch.eye(4)[None, :3]
    pose[0, :, 3] = torch.tensor([1.0, 2.0, 3.0])
    cameras = Cameras(
        pose, 30.0, 32.0, 20.5, 15.0, 40, 30, camera_type=CameraType.PERSPECTIVE,
        distortion_params=None if distortion is None else torch.tensor([distortion]),
    )  # fmt: skip
    rays = cameras.generate_rays(0, keep_shape=True)
    pixels, inside = project(cameras[0], rays.origins + 2.5 * rays.directions)
    rows, columns = torch.meshgrid(torch.arange(30) + 0.5, torch.arange(40) + 0.5, indexing="ij")
    torch.testing.assert_close(pixels, torch.stack([columns, rows], dim=-1), rtol=0, atol=2e-3)
    assert inside.all()
    assert not project(cameras[0], rays.origins - 2.5 * rays.directions)[1].any()


def test_a_photo_has_no_error_against_itself_and_all_of_it_against_its_negative():
    from support.view_helpers import CAMERA

    rays = CAMERA.generate_rays(0, keep_shape=True)
    photo = torch.rand(*rays.shape, 3).round()
    error, known = photo_error(photo, rays.origins + rays.directions, CAMERA[0], photo)
    assert known.all() and error.max() < 1e-2
    assert photo_error(1.0 - photo, rays.origins + rays.directions, CAMERA[0], photo)[0].min() > 0.98
