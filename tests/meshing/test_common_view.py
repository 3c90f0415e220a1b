"""The box that exports of captures look in without --box: what most cameras see, and nothing from elsewhere."""

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

from eugen_fields.meshing.common_view import common_view, seen_by
from eugen_fields.meshing.export_mesh import export_mesh
from eugen_fields.runs import open_run


@pytest.fixture(scope="module")
def run(unbounded_planes_run):
    """Of a sphere of radius 0.8 about the origin, seen by cameras around it."""
    return open_run(unbounded_planes_run.config.get_base_dir(), device="cpu")


def test_a_camera_sees_what_lies_in_its_picture():
    cameras = Cameras(
        camera_to_worlds=torch.eye(4)[None, :3],
        fx=torch.tensor([100.0]), fy=torch.tensor([200.0]), cx=torch.tensor([40.0]), cy=torch.tensor([50.0]),
        width=torch.tensor([100]), height=torch.tensor([100]), camera_type=torch.tensor([CameraType.PERSPECTIVE.value]),
    )  # fmt: skip
    inside = [[0.0, 0.0, -1.0], [-0.39, 0.0, -1.0], [0.59, 0.0, -1.0], [0.0, 0.24, -1.0], [0.0, -2.4, -10.0]]
    outside = [[0.0, 0.0, 1.0], [-0.41, 0.0, -1.0], [0.61, 0.0, -1.0], [0.0, 0.26, -1.0], [0.0, -2.6, -10.0]]
    counts = seen_by(cameras, torch.tensor(inside + outside))
    assert counts.tolist() == [1] * 5 + [0] * 5


def test_the_box_holds_what_the_cameras_look_at(run):
    world = common_view(run, run.world_from_scene)
    assert world is not None
    assert (world[0] < -0.5).all() and (world[1] > 0.5).all()  # of the sphere
    assert (world[1] - world[0]).max() < 5.0  # where the cameras are at 4 on every side
    scene = common_view(run, torch.eye(4, dtype=torch.float64))
    scale = float(run.world_from_scene[:3, 0].norm())
    assert float((scene[1] - scene[0]).prod()) * scale**3 == pytest.approx(float((world[1] - world[0]).prod()), rel=0.5)


def test_an_export_says_which_box_it_found_and_with_it_gives_the_same(run, tmp_path):
    found = export_mesh(run, tmp_path / "found.ply", resolution=48, progress=False)
    assert "what most cameras see" in found["where"] and len(found["box"]) == 6
    given = export_mesh(run, tmp_path / "given.ply", resolution=48, progress=False, box=found["box"])
    assert given["where"] == "--box" and (given["faces"], given["vertices"]) == (found["faces"], found["vertices"])
    np.testing.assert_allclose(given["extent"], found["extent"], rtol=1e-5)


def test_without_its_photos_a_run_is_exported_between_the_cameras(run, tmp_path, monkeypatch):
    monkeypatch.setattr("eugen_fields.runs.scene_data.find_scene", lambda folder, parser, data: tmp_path / "gone")
    facts = export_mesh(run, tmp_path / "mesh.ply", resolution=24, progress=False)
    assert "between the cameras" in facts["where"] and facts["box"] is None
