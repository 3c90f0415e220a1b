"""The unbounded scene that ships: scenes/garden_table is complete, small, and its cameras agree with its pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

GARDEN_TABLE = Path(__file__).parents[2] / "scenes" / "garden_table"
COUNTS = {"train": 60, "val": 10, "test": 10}
LENS = {"k1": -0.12, "k2": 0.03, "p1": 0.001, "p2": -0.0015}


@pytest.fixture(scope="module")
def content():
    return json.loads((GARDEN_TABLE / "transforms.json").read_text())


@pytest.fixture(scope="module")
def poses(content):
    return np.array([frame["transform_matrix"] for frame in content["frames"]])


@pytest.fixture
def lens(load):
    return load("capture.distortion").Lens(**LENS)


def test_images_are_those_of_the_transforms(content):
    names = [frame["file_path"] for frame in content["frames"]]
    assert len(set(names)) == len(names) == 70
    assert {path.relative_to(GARDEN_TABLE).as_posix() for path in GARDEN_TABLE.glob("*/*")} == set(names)
    for split, count in COUNTS.items():
        assert len(content[f"{split}_filenames"]) == count and set(content[f"{split}_filenames"]) <= set(names)
    assert content["val_filenames"] == content["test_filenames"]
    assert not set(content["train_filenames"]) & set(content["test_filenames"])
    for name in names:
        with Image.open(GARDEN_TABLE / name) as image:
            assert (image.size, image.mode, image.format) == ((content["w"], content["h"]), "RGB", "JPEG")
            brightness = np.asarray(image.convert("L"))
        assert 60 < brightness.mean() < 200 and brightness.std() > 25
        assert (brightness > 250).mean() < 0.1 and (brightness < 5).mean() < 0.02


def test_scene_is_small_and_licensed():
    files = [path for path in GARDEN_TABLE.rglob("*") if path.is_file()]
    assert {path.name for path in files if path.suffix != ".jpg"} == {"transforms.json", "render.json"}
    assert sum(path.stat().st_size for path in files) <= 4_000_000
    note = json.loads((GARDEN_TABLE / "render.json").read_text())
    assert note["license"] == "Public domain" and note["model"].startswith("BlendSwap-CC-0/") and note["hdri"] is None
    licence = (GARDEN_TABLE.parent / "LICENSE.md").read_text()
    assert "`garden_table/`" in licence and "CC0" in licence and note["creator"] in licence


def test_poses_are_rigid_above_ground_and_spread(poses):
    rotations, positions = poses[:, :3, :3], poses[:, :3, 3]
    assert np.allclose(poses[:, 3], [0, 0, 0, 1])
    assert np.allclose(rotations.transpose(0, 2, 1) @ rotations, np.eye(3), atol=1e-9)
    assert np.allclose(np.linalg.det(rotations), 1)
    assert (positions[:, 2] > 0.5).all()
    distances = np.linalg.norm(positions[:, :2], axis=1)
    assert distances.min() < 2.6 and distances.max() > 4.3
    azimuths = np.sort(np.arctan2(positions[:60, 1], positions[:60, 0]))
    assert np.diff(azimuths).max() < np.radians(25)


def test_camera_has_a_distortion_that_shows(content, lens):
    assert content["camera_model"] == "OPENCV" and {key: content[key] for key in LENS} == LENS
    corner = np.array([content["w"], content["h"]]) / 2 / content["fl_x"]
    shift = np.linalg.norm(lens.distort(corner) - corner) * content["fl_x"]
    assert shift > 5  # pixels


def test_pictures_show_the_ground_where_the_cameras_see_it(content, lens, load):
    """The paving, computed where the rays of the pixels meet it, matches best when pictures are not shifted."""
    ground = load("outdoors.ground")
    shifts = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    scores = []
    for frame in content["frames"][::6]:
        picture = np.asarray(Image.open(GARDEN_TABLE / frame["file_path"]).convert("L")).astype(float)
        pose, scores_here = np.array(frame["transform_matrix"]), []
        for shift in shifts:
            pixels = np.stack(np.meshgrid(np.arange(0, 224, 2), np.arange(0, 168, 2)), axis=-1) + 0.5 + shift
            places = lens.undistort((pixels - [content["cx"], content["cy"]]).reshape(-1, 2) / content["fl_x"])
            directions = np.concatenate([places * [1, -1], -np.ones((len(places), 1))], axis=1) @ pose[:3, :3].T
            points = pose[:3, 3] - directions * (pose[2, 3] / directions[:, 2:])
            seen = (directions[:, 2] < 0) & (np.abs(np.linalg.norm(points[:, :2], axis=1) - 3) < 1.5)
            x, y = points[seen, :2].T[..., None]
            expected = np.sqrt(ground.reflectance(x, y, np.full_like(x, 0.02)).mean(axis=(1, 2)))
            scores_here.append(np.corrcoef(expected, picture[::2, ::2].ravel()[seen])[0, 1])
        scores.append(scores_here)
    here, *beside = np.mean(scores, axis=0)
    assert here > 0.4 and here > max(beside) + 0.05, (here, beside)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize("split", COUNTS)
def test_nerfstudio_reads_it(split, lens, content):
    torch = pytest.importorskip("torch")
    parsers = pytest.importorskip("nerfstudio.data.dataparsers.nerfstudio_dataparser")
    parser = parsers.NerfstudioDataParserConfig(data=GARDEN_TABLE, orientation_method="none").setup()
    outputs = parser.get_dataparser_outputs(split)
    assert len(outputs.image_filenames) == len(outputs.cameras) == COUNTS[split]
    expected = torch.tensor([LENS["k1"], LENS["k2"], 0, 0, LENS["p1"], LENS["p2"]])
    assert torch.allclose(outputs.cameras.distortion_params, expected)
    assert outputs.cameras.camera_type.unique().item() == parsers.CameraType.PERSPECTIVE.value
    directions = outputs.cameras.generate_rays(camera_indices=1, keep_shape=True).directions.numpy()
    pixels = np.stack(np.meshgrid(np.arange(content["w"]), np.arange(content["h"])), axis=-1) + 0.5
    places = lens.undistort((pixels - [content["cx"], content["cy"]]) / content["fl_x"])
    rays = np.concatenate([places * [1, -1], -np.ones((*places.shape[:2], 1))], axis=-1)
    rays = rays @ outputs.cameras.camera_to_worlds[1, :3, :3].numpy().T
    angle = np.linalg.norm(rays / np.linalg.norm(rays, axis=-1, keepdims=True) - directions, axis=-1)
    assert angle.max() * content["fl_x"] < 0.1  # pixels
