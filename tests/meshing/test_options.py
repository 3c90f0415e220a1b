"""Every option of eugen-export: what it does to the file, and what is said where it cannot be."""

import json
import sys

import numpy as np
import pytest
import torch
import trimesh
from support.distance_shapes import SHAPES
from support.shape_runs import DENSITY, density_run, distance_run, true_colors

from eugen_fields.errors import InputError
from eugen_fields.meshing.build import build_mesh
from eugen_fields.meshing.export import main
from eugen_fields.meshing.export_mesh import export_mesh
from eugen_fields.meshing.report import surface_facts

pytest_plugins = "support.run_fixture"

SMALL = {"resolution": 32, "progress": False}
BALL = SMALL | {"level": DENSITY / 2}


# The report


@pytest.mark.parametrize("kind", ["density", "distance"])
def test_the_report_lies_beside_the_file_and_says_what_is_in_it(kind, tmp_path):
    if kind == "density":
        matrix = torch.diag(torch.tensor([2.0, 2.0, 2.0, 1.0], dtype=torch.float64))
        facts = export_mesh(density_run("sphere", tmp_path, world_from_scene=matrix), tmp_path / "a.ply", **BALL)
    else:
        facts = export_mesh(distance_run("sphere", tmp_path), tmp_path / "a.ply", **SMALL)
    report = json.loads((tmp_path / "a.json").read_text())
    assert report.pop("file") == "a.ply"
    assert report == json.loads(json.dumps({name: value for name, value in facts.items() if name != "path"}))
    mesh, size = trimesh.load(tmp_path / "a.ply", process=False), 8.0 if kind == "density" else 1.0
    assert (report["vertices"], report["faces"]) == (len(mesh.vertices), len(mesh.faces))
    assert report["watertight"] is True and report["components"] == 1
    assert report["volume"] == pytest.approx(size * SHAPES["sphere"].volume, rel=0.02)
    assert report["volume"] == pytest.approx(mesh.volume, rel=1e-4) and report["area"] == pytest.approx(mesh.area)
    np.testing.assert_allclose(report["extent"], mesh.extents, rtol=1e-5)
    assert report["units"] == ("units of the data set's poses" if kind == "density" else "metres")
    assert (report["frame"], report["step"], report["method"], report["resolution"]) == ("world", 1, "solid", 32)
    assert report["level"] == (DENSITY / 2 if kind == "density" else 0.0)
    assert report["box"] is None and report["where"] == "the scene box" and report["seconds"] > 0


def test_the_report_of_an_open_mesh_has_no_volume(tmp_path):
    facts = export_mesh(
        distance_run("sphere", tmp_path), tmp_path / "a.stl", box=(-1.0, -1.0, -1.0, 0.3, 1.0, 1.0), **SMALL
    )
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["volume"] is None and report["watertight"] is False
    assert report["box"] == [-1.0, -1.0, -1.0, 0.3, 1.0, 1.0] and report["where"] == "--box"
    closed = export_mesh(
        distance_run("sphere", tmp_path), tmp_path / "b.stl", box=(-1.0, -1.0, -1.0, 0.3, 1.0, 1.0), watertight=True,
        **SMALL,
    )  # fmt: skip
    assert closed["watertight"] and closed["volume"] > 0.5 and closed["faces"] > facts["faces"]


def test_of_an_unbounded_scene_it_is_said_that_it_goes_on(tmp_path):
    facts = export_mesh(density_run("sphere", tmp_path, bounded=False), tmp_path / "a.ply", **BALL)
    assert "between the cameras" in facts["where"] and "--box" in facts["where"]


def test_stopped_while_renaming_nothing_half_is_left(tmp_path, monkeypatch):
    def fails(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(KeyboardInterrupt):
        export_mesh(density_run("sphere", tmp_path), tmp_path / "a.ply", **BALL)
    assert not list(tmp_path.iterdir())


# Files


def test_stl_holds_the_shape(tmp_path):
    facts = export_mesh(density_run("torus", tmp_path), tmp_path / "a.stl", **BALL)
    back = trimesh.load(facts["path"])  # merges the corners that STL repeats
    assert back.is_watertight and len(back.faces) == facts["faces"]
    assert back.volume == pytest.approx(facts["volume"], rel=1e-4)


def read_cloud(path):
    import open3d

    cloud = open3d.io.read_point_cloud(str(path))
    return np.array(cloud.points), np.array(cloud.normals), np.array(cloud.colors)


def test_points_lie_on_the_surface_with_normals_and_colours(tmp_path):
    facts = export_mesh(density_run("sphere", tmp_path), tmp_path / "a.ply", points=3000, **BALL)
    points, normals, colors = read_cloud(tmp_path / "a.ply")
    assert points.shape == normals.shape == colors.shape == (3000, 3) and facts["points"] == 3000
    assert np.abs(np.linalg.norm(points, axis=1) - 0.7).max() < 2.0 / 32
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-5)
    assert np.einsum("ij,ij->i", normals, points / np.linalg.norm(points, axis=1, keepdims=True)).min() > 0.97
    assert np.abs(colors - true_colors(torch.from_numpy(points)).numpy()).max() < 0.03
    octants = np.bincount((points > 0) @ [1, 2, 4], minlength=8)
    assert octants.min() > 0.8 * 3000 / 8  # spread evenly
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["points"] == 3000 and "faces" not in report
    assert report["area"] == pytest.approx(4 * np.pi * 0.49, rel=0.02)


def test_points_of_distances_have_no_colours_and_are_where_the_world_is(tmp_path):
    run = distance_run("torus", tmp_path)
    run.world_from_scene[:3, 3] = torch.tensor([5.0, 0.0, 0.0])
    export_mesh(run, points=500, **SMALL)
    points, normals, colors = read_cloud(tmp_path / "points.ply")
    assert len(points) == len(normals) == 500 and len(colors) == 0
    places = torch.from_numpy(points - [5.0, 0.0, 0.0])
    assert float(SHAPES["torus"].distance(places).abs().max()) < 2.0 / 32


# The shape


def test_colours_are_taken_again_after_the_shape_has_changed(tmp_path):
    mesh, _ = build_mesh(density_run("sphere", tmp_path), faces=400, smooth=3, **BALL)
    assert 380 < len(mesh.faces) <= 400
    colors = mesh.visual.vertex_colors[:, :3] / 255.0
    assert np.abs(colors - true_colors(torch.from_numpy(mesh.vertices.copy())).numpy()).max() < 0.03


def test_smoothing_folds_no_triangles_and_keeps_the_volume(tmp_path):
    rough, smooth = (build_mesh(density_run("sphere", tmp_path), smooth=rounds, **BALL)[0] for rounds in (0, 10))
    outward = [
        np.einsum("ij,ij->i", mesh.face_normals, mesh.triangles_center) / np.linalg.norm(mesh.triangles_center, axis=1)
        for mesh in (rough, smooth)
    ]
    assert outward[1].min() > 0.97 and outward[1].mean() > outward[0].mean()
    assert surface_facts(smooth.vertices, smooth.faces)["volume"] == pytest.approx(SHAPES["sphere"].volume, rel=0.02)


# Bad input


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"faces": 3}, "--faces is 3; it must be at least 4"),
        ({"smooth": -1}, "--smooth is -1; it must be at least 0"),
        ({"points": 0}, "--points is 0; it must be at least 1"),
        ({"texture": 8}, "--texture is 8; it must be at least 16"),
        ({"texture": 99999}, "--texture is 99999; it must be at most 16384"),
        ({"resolution": 10**400}, "--resolution is 100000... .* it must be at most 4096"),
        ({"box": (0.0, 0.0, 0.0, 1.0, -1.0, 1.0)}, "along y it starts at 0 and ends at -1"),
        ({"box": (0.0, 0.0, 0.0, 1.0, float("inf"), 1.0)}, "--box is 0 0 0 1 inf 1; it must be six numbers"),
        ({"points": 10, "faces": 100}, "--points writes points without a mesh, so --faces has no use"),
        ({"points": 10, "texture": 64}, "--points writes points without a mesh, so --texture has no use"),
        ({"texture": 64}, r"--texture 64 wants an --output that ends in .glb or .obj; it is .*a\.ply"),
        ({"level": -1.0}, "--level is -1.0; it must be a positive density"),
        ({"region": "box"}, "--region box is for fields of signed distance"),
    ],
)
def test_options_that_cannot_be_are_named(bad, message, tmp_path):
    with pytest.raises(InputError, match=message):
        export_mesh(density_run("sphere", tmp_path), tmp_path / "a.ply", **(SMALL | bad))
    assert not list(tmp_path.iterdir())


def test_points_want_a_ply(tmp_path):
    with pytest.raises(InputError, match=r"--points 10 wants an --output that ends in .ply; it is .*a\.glb"):
        export_mesh(density_run("sphere", tmp_path), tmp_path / "a.glb", points=10, **SMALL)


def test_a_level_of_distances_that_is_no_number_is_named(tmp_path):
    with pytest.raises(InputError, match="--level is nan; it must be a finite distance"):
        export_mesh(distance_run("sphere", tmp_path), tmp_path / "a.ply", level=float("nan"), **SMALL)


# The command


def test_the_command_takes_every_option(sphere_run, tmp_path, monkeypatch, capsys):
    path = tmp_path / "mesh.obj"
    words = ["eugen-export", sphere_run, "--output", path, "--resolution", 24, "--device", "cpu"]
    words += ["--box", -2, -3, -3, 0.5, 3, 3, "--faces", 300, "--smooth", 2, "--watertight", "--texture", 64]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    main()
    printed = capsys.readouterr().out
    assert "where       --box" in printed and "watertight  yes, holds" in printed
    assert "units of the data set's poses" in printed
    assert sorted(entry.suffix for entry in tmp_path.glob("mesh.*")) == [".json", ".mtl", ".obj", ".png"]


def test_the_command_writes_points(sphere_run, monkeypatch, capsys):
    words = ["eugen-export", sphere_run, "--resolution", 24, "--device", "cpu", "--points", 100, "--frame", "training"]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    main()
    printed = capsys.readouterr().out
    assert "points      100" in printed and "units of the training frame" in printed
    assert (sphere_run / "points.ply").is_file() and (sphere_run / "points.json").is_file()
