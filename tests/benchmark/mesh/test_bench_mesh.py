"""eugen-bench mesh: silhouettes and distances of meshes against what they must be."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from nerfstudio.cameras.cameras import Cameras, CameraType
from PIL import Image
from support.helpers import here, look_at_origin
from support.view_helpers import write_run

from eugen_fields.benchmark.mesh.mesh import Mesh
from eugen_fields.benchmark.mesh.mesh_picture import draw_turntables
from eugen_fields.benchmark.mesh.mesh_scores import read_mesh, shape_errors, silhouette_overlaps, visible
from eugen_fields.errors import InputError

ALL_AROUND = 5.0 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1.0]])


def ball(radius: float, center=(0.0, 0.0, 0.0)) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return mesh.apply_translation(center)


def views(alphas):
    """A camera at distance 3 from the origin and an image with this alpha, for each."""
    for number, alpha in enumerate(alphas):
        pose = torch.from_numpy(look_at_origin(0.7 * number, 0.4, 3.0)[:3]).float()
        camera = Cameras(pose[None], 80.0, 80.0, 32.0, 32.0, 64, 64, camera_type=CameraType.PERSPECTIVE)
        yield camera, {"image": torch.cat([torch.zeros(64, 64, 3), alpha[..., None]], dim=-1)}


def disc(radius: float) -> torch.Tensor:
    """Alpha (64, 64) of a sphere around the origin as those cameras see it."""
    axis = torch.arange(64) + 0.5 - 32.0
    seen = 80.0 * math.tan(math.asin(radius / 3.0))
    return ((axis[:, None] ** 2 + axis**2).sqrt() < seen).float()


def test_overlap_of_silhouettes_is_one_for_the_right_shape_and_known_for_a_wrong_one():
    alphas = [disc(0.6)] * 3
    assert min(silhouette_overlaps(ball(0.6), views(alphas))) > 0.98
    smaller = np.mean(silhouette_overlaps(ball(0.5), views(alphas)))
    expected = (math.tan(math.asin(0.5 / 3)) / math.tan(math.asin(0.6 / 3))) ** 2
    assert smaller == pytest.approx(expected, abs=0.02)


def test_images_without_alpha_have_no_silhouette():
    (camera, batch), *_ = views([disc(0.6)])
    assert silhouette_overlaps(ball(0.6), [(camera, {"image": batch["image"][..., :3]})]) == []


def test_only_what_faces_a_camera_is_seen():
    mesh, points = ball(1.0), np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 0, 0.2]])
    assert visible(mesh, points, ALL_AROUND[:1], 0.01).tolist() == [True, False, False]
    assert visible(mesh, points, ALL_AROUND, 0.01).tolist() == [True, True, False]


def test_a_mesh_is_at_no_distance_from_itself_and_a_shifted_radius_is_found():
    options = {"num_samples": 4000, "seed": 0}
    same = shape_errors(ball(1.0), ball(1.0), ALL_AROUND, **options)
    assert same["chamfer"] < 1e-5
    larger = shape_errors(ball(1.05), ball(1.0), ALL_AROUND, **options)
    assert larger["accuracy"] == pytest.approx(0.05, abs=2e-3)
    assert larger["completion"] == pytest.approx(0.05, abs=2e-3)
    assert larger["chamfer"] == pytest.approx((larger["accuracy"] + larger["completion"]) / 2)


def test_what_is_enclosed_does_not_count():
    hollow = trimesh.util.concatenate([ball(1.0), ball(0.4)])
    errors = shape_errors(ball(1.0), hollow, ALL_AROUND, num_samples=4000, seed=0)
    assert errors["completion"] < 1e-5 and 0.8 < errors["seen_share"] < 0.9  # 1 / (1 + 0.16)
    assert shape_errors(hollow, ball(1.0), ALL_AROUND, num_samples=4000, seed=0)["accuracy"] < 1e-5


def test_what_is_missing_counts_as_incomplete_alone():
    half = ball(1.0).slice_plane([0, 0, 0], [0, 0, 1])
    errors = shape_errors(half, ball(1.0), ALL_AROUND, num_samples=4000, seed=0)
    assert errors["accuracy"] < 1e-5 and errors["completion"] > 0.1


def test_meshes_are_read_from_arrays_and_files(tmp_path):
    mesh = ball(1.0)
    np.savez(tmp_path / "mesh_ground_truth.npz", vertices=mesh.vertices, triangles=mesh.faces.astype(np.uint32))
    mesh.export(tmp_path / "ball.ply")
    for name in ("mesh_ground_truth.npz", "ball.ply"):
        assert read_mesh(tmp_path / name).volume == pytest.approx(mesh.volume, rel=1e-5)
    (tmp_path / "broken.npz").write_bytes(b"no")
    (tmp_path / "empty.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n")
    for name in ("broken.npz", "empty.ply", "not_there.obj"):
        with pytest.raises(InputError, match=name):
            read_mesh(tmp_path / name)


def test_the_picture_shows_colours_shape_and_a_mesh_without_colours(tmp_path):
    red = ball(0.7)
    red.visual.vertex_colors = np.tile([255, 0, 0, 255], (len(red.vertices), 1)).astype(np.uint8)
    draw_turntables({"red": red, "grey": ball(0.7)}, tmp_path / "turn.png")
    image = np.asarray(Image.open(tmp_path / "turn.png").convert("RGB")).astype(int)
    middle = image[:, :240].reshape(3, -1, 240, 3)[:, image.shape[0] // 6, 120]  # of the first ball in each row
    assert middle[0].tolist() == [255, 0, 0]
    assert np.ptp(middle[1]) == 0 and middle[1, 0] > 200 and (middle[1] == middle[2]).all()


@pytest.mark.e2e
def test_meshes_of_runs_are_measured_once(sphere_scene: Path, tmp_path: Path, capsys) -> None:
    run = write_run(tmp_path / "run", "nerf", data=sphere_scene)
    trimesh.creation.icosphere(subdivisions=4, radius=0.6).export(tmp_path / "truth.ply")
    bench = Mesh(
        runs=(run,),
        truth=tmp_path / "truth.ply",
        resolution=32,
        samples=2000,
        device="cpu",
        json=tmp_path / "mesh.json",
    )
    bench.main()
    (row,) = json.loads(bench.json.read_text())["runs"]
    assert row["watertight"] and row["views"] > 0 and 0.3 < row["least_iou"] <= row["silhouette_iou"] <= 1.0
    radii = np.linalg.norm(read_mesh(Path(row["mesh"])).sample(2000), axis=1)
    assert 0 < row["accuracy"] == pytest.approx(np.abs(radii - 0.6).mean(), rel=0.1)
    assert 0.5 < row["completion"] / row["accuracy"] < 2
    assert bench.json.with_suffix(".png").stat().st_size > 1000
    assert f"{1000 * row['chamfer']:.1f}" in capsys.readouterr().out
    text, made = bench.json.read_text(), Path(row["mesh"]).stat().st_mtime_ns
    bench.main()
    assert bench.json.read_text() == text and Path(row["mesh"]).stat().st_mtime_ns == made


def test_bad_input_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "isdf", "isdf")
    result = here("eugen-bench", "mesh", run, "--device", "cpu", "--json", tmp_path / "m.json")
    assert result.returncode != 0 and "eugen-bench isdf" in result.stderr
    result = here("eugen-bench", "mesh", tmp_path / "none", "--device", "cpu", "--json", tmp_path / "m.json")
    assert result.returncode != 0 and "none" in result.stderr and "Traceback" not in result.stderr
