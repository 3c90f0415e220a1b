"""wavefront.py: OBJ and MTL text to one triangle mesh per material."""

import numpy as np
import pytest

TENT = """\
# a flat square on the floor and two slopes that share a ridge
mtllib tent.mtl other.mtl
o tent
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0.5 0.25
v 1 0.5 0.25
vt 0 0
vt 1 0
vt 1 1
vt 0 1
vn 0 0 1
usemtl floor cloth
f 1/1/1 2/2/1 3/3/1 4/4/1
usemtl slope
s {smoothing}
f 1 2 6 5
f -4 -3 -2 -1
l 1 2
"""


@pytest.fixture
def wavefront(load):
    return load("shapes.wavefront")


def areas(part):
    a, b, c = (part.positions[part.triangles[:, corner]] for corner in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


@pytest.mark.parametrize("smoothing", ["off", "1"])
def test_parts_are_split_by_material(wavefront, smoothing):
    parts = wavefront.parse_object(TENT.format(smoothing=smoothing))
    assert set(parts) == {"floor cloth", "slope"}
    assert [len(part.triangles) for part in parts.values()] == [2, 4]
    assert areas(parts["floor cloth"]).sum() == pytest.approx(1)
    assert areas(parts["slope"]).sum() == pytest.approx(2 * np.hypot(0.5, 0.25))
    for part in parts.values():
        assert len(part.positions) == len(part.normals) == len(part.texture_coordinates) == part.triangles.max() + 1
        assert np.allclose(np.linalg.norm(part.normals, axis=1), 1)


def test_given_normals_and_texture_coordinates_are_kept(wavefront):
    floor = wavefront.parse_object(TENT.format(smoothing="off"))["floor cloth"]
    assert (floor.normals == [0, 0, 1]).all()
    assert np.allclose(floor.texture_coordinates, floor.positions[:, :2])  # the picture lies straight on the square


def test_smoothing_off_is_flat_and_on_shares_normals(wavefront):
    ridge = {}
    for smoothing in ("off", "1"):
        slope = wavefront.parse_object(TENT.format(smoothing=smoothing))["slope"]
        ridge[smoothing] = np.unique(np.round(slope.normals[slope.positions[:, 2] > 0], 6), axis=0)
    assert len(ridge["off"]) == 2  # one normal a side
    assert len(ridge["1"]) == 1 and np.allclose(np.abs(ridge["1"][0]), [0, 0, 1])


@pytest.mark.parametrize("smoothing", ["off", "1"])
def test_sharp_edges_stay_sharp_and_normals_face_outwards(wavefront, smoothing):
    """A closed box, smoothed or not: 90 degrees is a crease, and no normal turns away from its face."""
    faces = "f 1 2 4 3\nf 5 7 8 6\nf 1 5 6 2\nf 3 4 8 7\nf 1 3 7 5\nf 2 6 8 4\n"
    vertices = "".join(f"v {i} {j} {k}\n" for i in (0, 1) for j in (0, 1) for k in (0, 1))
    box = wavefront.parse_object(f"{vertices}s {smoothing}\n{faces}")[""]
    assert len(box.positions) == 24
    triangles = box.positions[box.triangles]
    flat = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    assert np.allclose(box.normals[box.triangles], flat[:, None])


def test_given_normal_that_points_away_is_not_taken(wavefront):
    part = wavefront.parse_object("v 0 0 0\nv 1 0 0\nv 0 1 0\nvn 0 0 -1\nvn 0 0.6 0.8\nf 1//1 2//2 3//2\n")[""]
    expected = [[0, 0, 1], [0, 0.6, 0.8], [0, 0.6, 0.8]]
    assert np.allclose(part.normals[part.triangles[0]], expected)


def test_two_sides_of_a_sheet_keep_a_normal(wavefront):
    sheet = wavefront.parse_object("v 0 0 0\nv 1 0 0\nv 0 1 0\ns 1\nf 1 2 3\nf 1 3 2\n")[""]
    assert np.allclose(np.abs(sheet.normals), [0, 0, 1])


def test_corner_forms_agree(wavefront):
    vertices = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvn 0 0 1\n"
    for face in ("1 2 3", "1/1 2/1 3/1", "1//1 2//1 3//1", "1/1/1 2/1/1 3/1/1", "-3 -2 -1", "1 2 \\\n3"):
        part = wavefront.parse_object(f"{vertices}f {face}\n")[""]
        assert np.allclose(part.normals, [0, 0, 1]) and areas(part).sum() == pytest.approx(0.5)


def test_normals_do_not_depend_on_how_polygons_are_cut(wavefront):
    whole, cut = (
        wavefront.parse_object(f"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 -1 -1\nv 1 -1 -1\ns 1\n{faces}f 1 5 6 2\n")[""]
        for faces in ("f 1 2 3 4\n", "f 1 2 4\nf 2 3 4\n")
    )
    edge = [part.normals[(part.positions[:, 1:] == 0).all(axis=1)] for part in (whole, cut)]
    assert np.allclose(edge[0], [0, -np.sin(np.pi / 8), np.cos(np.pi / 8)]) and np.allclose(*edge)


def test_no_faces_no_parts(wavefront):
    assert wavefront.parse_object("v 0 0 0\nl 1 1\n") == {}


def test_material_libraries(wavefront):
    assert wavefront.material_libraries(TENT) == ["tent.mtl other.mtl"]


def test_materials(wavefront):
    materials = wavefront.parse_materials(
        "# c\nnewmtl a b\nKd 0.1 0.2 0.3\n  map_Kd Suit 03.jpg\nNs 50\nd 0.5\n\n"
        "newmtl c\nTr 0.25\nmap_d leaf.png\nKe 1 1 1\n"
    )
    assert set(materials) == {"a b", "c"}
    assert materials["a b"] == wavefront.Material((0.1, 0.2, 0.3), "Suit 03.jpg", None, 0.5, 50.0)
    assert materials["c"] == wavefront.Material(opacity=0.75, opacity_map="leaf.png")
