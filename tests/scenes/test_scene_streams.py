"""shrink_stream.py and render_room.py: smaller streams invent no depth, and rooms are recorded as they are measured."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def shrink(load):
    return load("shrink_stream")


@pytest.fixture
def room(load):
    return load("render_room")


@pytest.fixture
def furniture(load):
    return load("shapes.furniture")


def sized(folder, **sizes):
    """Write sizes (metres) into the hand-made catalogue's property list."""
    import zipfile

    path = folder / "Handmade.sh3f"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    lines = [f"{side}#{number}={100 * value}" for number in (1, 2) for side, value in sizes.items()]
    content["PluginFurnitureCatalog.properties"] += ("\n".join(lines) + "\n").encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return folder


@pytest.fixture
def models(load, catalogues):
    return load("shapes.catalogue").find_models(sized(catalogues, width=0.8, depth=0.4, height=1.2))


def test_no_depth_is_made_up_across_an_edge(shrink):
    depth = np.array([[1000, 3000, 0, 0], [1010, 3000, 2000, 0], [0, 0, 1500, 1500], [0, 0, 1500, 1600]], np.uint16)
    assert shrink.shrink_depth(depth, 2).tolist() == [[1005, 2000], [0, 1500]]


@pytest.mark.parametrize("factor", [2, 4])
def test_a_plane_stays_where_it_is(shrink, load, factor):
    """Depths of a tilted plane agree with those that the smaller camera would see, to the half millimetre of files."""
    camera = {"w": 64, "h": 48, "fl_x": 52.0, "fl_y": 52.0, "cx": 31.5, "cy": 24.25}
    small = {key: value / factor for key, value in camera.items()}
    small |= {key: int(small[key]) for key in ("w", "h")}

    def plane(camera):  # n . p = -2
        return -2000 / (load("capture.raycast").pixel_directions(camera) @ np.array([0.2, -0.1, 1.0]))

    found = shrink.shrink_depth(np.rint(plane(camera)).astype(np.uint16), factor)
    assert found.dtype == np.uint16 and found.shape == (small["h"], small["w"])
    assert np.abs(found - plane(small)).max() < 1.6


def test_models_know_their_real_size(models):
    assert all(np.allclose(model.size, (0.8, 0.4, 1.2)) for model in models)


def test_pieces_stand_on_the_floor_in_their_real_size(furniture, models):
    vertices = furniture.piece(models[0]).vertices
    assert np.allclose(vertices.min(axis=0), [-0.4, -0.2, 0], atol=1e-6)
    assert np.allclose(vertices.max(axis=0), [0.4, 0.2, 1.2], atol=1e-6)


def test_a_model_without_a_size_is_refused(furniture, load, catalogues):
    with pytest.raises(load("console").SceneError, match="no real size"):
        furniture.piece(load("shapes.catalogue").find_models(catalogues)[0])


def test_pieces_stand_along_walls_apart_and_off_the_path(furniture, room, models):
    path = room.walk(60, 5.0, 4.0)[:, :3, 3]
    walls = furniture.box_room(5.0, 4.0, 2.6)
    for seed in range(8):
        mesh = furniture.arrange(models[:1] * 5, (5.0, 4.0, 2.6), path, np.random.default_rng(seed))
        pieces = mesh.vertices[len(walls.vertices) :].reshape(5, -1, 3)
        low, high = pieces.min(axis=1), pieces.max(axis=1)
        to_wall = np.minimum(low[:, :2] + [2.5, 2.0], [2.5, 2.0] - high[:, :2])
        assert np.allclose(to_wall.min(axis=1), furniture.GAP) and np.allclose(low[:, 2], 0)
        long_sides = (high - low)[np.arange(5), 1 - to_wall.argmin(axis=1)]
        assert np.allclose(long_sides, 0.8), "the back is to the wall"
        for i in range(5):
            for j in range(i):
                assert ((low[i, :2] > high[j, :2]) | (low[j, :2] > high[i, :2])).any()
        gap = np.maximum(np.maximum(low[:, None] - path, path - high[:, None]), 0)
        assert np.linalg.norm(gap, axis=-1).min() > 0.2


def test_too_much_furniture_is_refused(furniture, room, load, models):
    path = room.walk(20, 2.0, 2.0)[:, :3, 3]
    with pytest.raises(load("console").SceneError, match="no place along the walls for Handmade/"):
        furniture.arrange(models[:1] * 30, (2.0, 2.0, 2.6), path, np.random.default_rng(0))


def test_the_walk_is_smooth_closed_level_and_rigid(room):
    poses = room.walk(300, 6.0, 5.0)
    rotations = poses[:, :3, :3]
    assert np.allclose(rotations.transpose(0, 2, 1) @ rotations, np.eye(3)) and np.allclose(np.linalg.det(rotations), 1)
    assert np.allclose(poses[:, 2, 0], 0) and (poses[:, 2, 1] > 0.5).all()
    after = np.roll(poses, -1, axis=0)  # the last is followed by the first
    assert np.linalg.norm((after - poses)[:, :3, 3], axis=1).max() < 0.08
    turned = np.einsum("nij,nij->n", rotations, after[:, :3, :3])
    assert np.degrees(np.arccos(np.clip((turned - 1) / 2, -1, 1))).max() < 6


def test_kinect_noise_has_the_deviation_it_says(load):
    raycast = load("capture.raycast")
    for z, deviation in ((1.0, 0.001884), (3.0, 0.014044)):
        depth = np.full((300, 300), z)
        noisy = raycast.kinect(depth, np.ones_like(depth), np.random.default_rng(0))
        assert (noisy - z).std() == pytest.approx(deviation, rel=0.02) and abs((noisy - z).mean()) < deviation / 100
    tilted = raycast.kinect(depth, np.full_like(depth, np.cos(np.radians(75))), np.random.default_rng(0))
    assert (tilted - 3.0).std() == pytest.approx(0.014044 + 0.0001 / np.sqrt(3) * 25, rel=0.02)


def test_kinect_sees_nothing_out_of_range_or_edge_on(load):
    depth = np.array([[0.2, 2.0, 9.0, np.inf, 2.0]])
    cosine = np.array([[1.0, 1.0, 1.0, 1.0, 0.1]])
    noisy = load("capture.raycast").kinect(depth, cosine, np.random.default_rng(0))
    assert (noisy > 0).tolist() == [[False, True, False, False, False]]


def test_a_room_is_recorded_as_it_is_measured_and_shrinks(command, catalogues, tmp_path, load):
    """The whole way: render a small room, check depths against an analytic empty room and the mesh, shrink it."""
    sized(catalogues, width=0.8, depth=0.4, height=0.3)
    options = ("--frames", 4, "--size", 64, "--points", 3000, "--catalogues", catalogues, "--noiseless")
    process = command("render_room.py", "threeBoxes", "four_boxes", "-o", "out", *options)
    assert process.returncode == 0, process.stderr
    out = tmp_path / "out"
    content = json.loads((out / "transforms.json").read_text())
    note = json.loads((out / "room.json").read_text())
    assert [entry["license"] for entry in note["models"]] == ["Public domain"] * 2
    assert [frame["timestamp"] for frame in content["frames"]] == [index / 30 for index in range(4)]
    raycast = load("capture.raycast")
    directions = raycast.pixel_directions(content)
    for frame in content["frames"]:
        pose = np.array(frame["transform_matrix"])
        depth = np.asarray(Image.open(out / frame["depth_file_path"])) * content["depth_unit_scale_factor"]
        with Image.open(out / frame["file_path"]) as image:
            assert image.size == (64, 48) and np.asarray(image).std() > 5
        world = directions @ pose[:3, :3].T
        empty = ((np.where(world > 0, [3, 2.5, 2.6], [-3, -2.5, 0]) - pose[:3, 3]) / world).min(axis=-1)
        assert (depth < empty + 6e-4).all() and np.median(np.abs(depth - empty)) < 6e-4
    with np.load(out / "mesh_ground_truth.npz") as mesh, np.load(out / "distance_ground_truth.npz") as truth:
        caster = raycast.Caster(load("shapes.furniture").Mesh(mesh["vertices"], mesh["triangles"], mesh["vertices"]))
        points, distance = truth["points"], truth["distance"]
    assert len(points) == 3000 and np.allclose(caster.distance(points), distance, atol=1e-6)
    assert (distance[::3] < 1e-5).mean() > 0.9 and np.median(np.delete(distance, np.s_[::3])) > 0.1
    assert (np.abs(points) <= [3.0001, 2.5001, 2.6001]).all()

    process = command("shrink_stream.py", "out", "small", "--every", "2", "--points", "500", "--triangles", "60")
    assert process.returncode == 0, process.stderr
    small = json.loads((tmp_path / "small/transforms.json").read_text())
    assert (small["w"], small["h"], small["fl_x"], small["cx"]) == (32, 24, content["fl_x"] / 2, content["cx"] / 2)
    assert [frame["timestamp"] for frame in small["frames"]] == [0.0, 2 / 30]
    assert small["frames"][1]["transform_matrix"] == content["frames"][2]["transform_matrix"]
    shrunk = np.asarray(Image.open(tmp_path / "small" / small["frames"][1]["depth_file_path"]))
    depth, _, _ = caster.cast(np.array(small["frames"][1]["transform_matrix"]), raycast.pixel_directions(small))
    assert np.median(np.abs(shrunk * 0.001 - depth)) < 2e-3
    with np.load(tmp_path / "small/mesh_ground_truth.npz") as mesh:
        assert 4 <= len(mesh["triangles"]) <= 60 and mesh["triangles"].max() < len(mesh["vertices"])
    with np.load(tmp_path / "small/distance_ground_truth.npz") as truth:
        assert (
            np.allclose(caster.distance(truth["points"]), truth["distance"], atol=1e-6) and len(truth["points"]) == 500
        )


def test_errors_say_what_would_do(fails, catalogues, tmp_path):
    here = ("render_room.py", "threeBoxes", "--catalogues", catalogues)
    assert "--output DIR" in fails(*here)
    assert "--size 66: the height is 3/4 of it" in fails(*here, "-o", "out", "--size", "66")
    assert "--width 1.0: must be 2 or more" in fails(*here, "-o", "out", "--width", "1")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert "full is not empty" in fails(*here, "-o", "full")
    assert "give another DST" in fails("shrink_stream.py", "full", "full")
    assert "--factor 0: must be 1 or more" in fails("shrink_stream.py", "full", "out", "--factor", "0")
    assert "cannot read" in fails("shrink_stream.py", "full", "out")
    (tmp_path / "full/transforms.json").write_text('{"frames": []}')
    assert "is not the transforms file of a depth stream" in fails("shrink_stream.py", "full", "out")
