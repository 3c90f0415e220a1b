"""--texture: the colours of the surface, read back from the image, are those of the field."""

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from support.shape_runs import DENSITY, density_run, distance_run, true_colors

from eugen_fields.errors import InputError
from eugen_fields.meshing.build import build_mesh
from eugen_fields.meshing.export_mesh import export_mesh
from eugen_fields.meshing.finishing.texture import texel_triangles, unwrap

SIZE = 256
OPTIONS = {"level": DENSITY / 2, "resolution": 48, "faces": 1200, "texture": SIZE, "progress": False}


@pytest.fixture(scope="module")
def textured_torus(tmp_path_factory):
    return build_mesh(density_run("torus", tmp_path_factory.mktemp("run")), **OPTIONS)[0]


def read_image(image, uv):
    """Colours (N, 3) in [0, 1] at places (N, 2) from the lower left corner."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64) / 255
    height, width = pixels.shape[:2]
    columns = (uv[:, 0] * width).astype(int).clip(0, width - 1)
    rows = ((1.0 - uv[:, 1]) * height).astype(int).clip(0, height - 1)
    return pixels[rows, columns]


def check_colors(mesh, image, uv):
    points, triangles = trimesh.sample.sample_surface(mesh, 3000, seed=0)[:2]
    weights = trimesh.triangles.points_to_barycentric(mesh.triangles[triangles], points)
    found = read_image(image, np.einsum("nc,ncd->nd", weights, uv[mesh.faces[triangles]]))
    errors = np.abs(found - true_colors(torch.from_numpy(points)).numpy()).max(axis=1)
    assert np.quantile(errors, 0.99) < 0.04 and errors.max() < 0.1


def test_every_place_of_the_surface_has_its_colour(textured_torus):
    mesh = textured_torus
    assert len(mesh.faces) <= 1200
    assert mesh.visual.uv.min() >= 0.0 and mesh.visual.uv.max() <= 1.0
    assert max(mesh.visual.material.baseColorTexture.size) == SIZE
    check_colors(mesh, mesh.visual.material.baseColorTexture, mesh.visual.uv)


def test_charts_do_not_overlap_and_fill_much_of_the_image(textured_torus):
    mesh = textured_torus
    width, height = mesh.visual.material.baseColorTexture.size
    corners = mesh.visual.uv[mesh.faces] * [width, height]
    sides = corners[:, 1:] - corners[:, :1]
    areas = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0]) / 2
    triangles, weights = texel_triangles(mesh.visual.uv, mesh.faces, width, height)
    covered = (triangles >= 0).sum()
    assert covered == pytest.approx(areas.sum(), rel=0.02)
    assert covered > 0.25 * width * height
    np.testing.assert_allclose(weights[triangles >= 0].sum(axis=1), 1.0, atol=1e-5)


def test_normals_are_the_same_on_both_sides_of_a_seam(textured_torus):
    mesh = textured_torus
    places, group = np.unique(mesh.vertices.round(6), axis=0, return_inverse=True)
    assert len(places) < len(mesh.vertices)
    first = np.zeros((len(places), 3))
    first[group.reshape(-1)] = mesh.vertex_normals
    np.testing.assert_allclose(mesh.vertex_normals, first[group.reshape(-1)], atol=1e-5)


def test_unwrapping_names_the_vertex_that_each_new_one_comes_from():
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=1e-3)  # of any size
    origin, faces, uv, _, _ = unwrap(mesh, 128)
    np.testing.assert_array_equal(origin[faces], mesh.faces)
    assert len(origin) >= len(mesh.vertices) and uv.shape == (len(origin), 2)


@pytest.mark.parametrize("ending", ["glb", "obj"])
def test_the_files_bring_shape_and_image_back(ending, tmp_path):
    run = density_run("sphere", tmp_path)
    facts = export_mesh(run, tmp_path / f"ball.{ending}", **OPTIONS)
    names = {"ball.glb", "ball.json"} if ending == "glb" else {"ball.obj", "ball.mtl", "ball.png", "ball.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert facts["watertight"] and facts["faces"] <= 1200  # of the surface: seams in the file are not gaps in it
    back = trimesh.load_scene(facts["path"], process=False).geometry.popitem()[1]
    assert len(back.faces) == facts["faces"] and len(back.vertices) == facts["vertices"]
    if ending == "glb":
        image = back.visual.material.baseColorTexture
    else:
        image = Image.open(tmp_path / "ball.png")
        assert "map_Kd ball.png" in (tmp_path / "ball.mtl").read_text()
    check_colors(back, image, back.visual.uv)


def test_without_a_number_of_faces_the_mesh_is_reduced(tmp_path, monkeypatch):
    monkeypatch.setattr("eugen_fields.meshing.build.TEXTURE_FACES", 800)
    mesh, _ = build_mesh(density_run("sphere", tmp_path), **(OPTIONS | {"faces": None}))
    assert len(mesh.faces) <= 800


def test_a_field_without_colours_has_no_texture(tmp_path):
    with pytest.raises(InputError, match="--texture has no colours to bake"):
        build_mesh(distance_run("sphere", tmp_path), texture=64, progress=False)


def test_an_image_that_is_too_small_for_the_charts_says_so(tmp_path, monkeypatch):
    class Atlas:
        atlas_count, chart_count = 3, 77

        def add_mesh(self, *arguments): ...
        def generate(self, *arguments): ...

    monkeypatch.setattr("xatlas.Atlas", Atlas)
    with pytest.raises(InputError, match="--texture 16 is too small for the 77 charts"):
        unwrap(trimesh.creation.icosphere(), 16)
