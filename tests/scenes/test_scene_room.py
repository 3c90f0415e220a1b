"""The depth stream that ships: scenes/room is complete, small, and its depth lies on its ground truth."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eugen_fields.data.checks import check_scene
from eugen_fields.data.depth.depth_parser import DepthStreamDataParserConfig
from eugen_fields.data.depth.depth_reading import read_depth_stream
from eugen_fields.data.depth.depth_streams import DepthStream

ROOM = Path(__file__).parents[2] / "scenes" / "room"


@pytest.fixture(scope="module")
def stream() -> DepthStream:
    return read_depth_stream(ROOM)


@pytest.fixture(scope="module")
def mesh(load):
    with np.load(ROOM / "mesh_ground_truth.npz", allow_pickle=False) as arrays:
        vertices, triangles = arrays["vertices"], arrays["triangles"]
    return load("capture.raycast").Caster(
        load("shapes.furniture").Mesh(vertices, triangles, np.zeros((len(triangles), 3)))
    )


def test_it_is_complete_and_small(stream):
    files = [path for path in ROOM.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 4_000_000
    assert len(stream) == 75 and (stream.width, stream.height) == (160, 120)
    assert len(files) == 2 * 75 + 3
    for path in stream.color_paths:
        with Image.open(path) as image:
            assert (image.size, image.mode, image.format) == ((160, 120), "RGB", "JPEG")
    torch.testing.assert_close(stream.timestamps, torch.arange(75, dtype=torch.float64) / 15)


def test_licence_names_it():
    licence = (ROOM.parent / "LICENSE.md").read_text()
    assert "`room/`" in licence.split("\n## ")[0] and "CC0" in licence.split("## `room/`")[1].split("\n## ")[0]


def test_transforms_name_no_other_place():
    text = (ROOM / "transforms.json").read_text()
    assert "/home" not in text and ".." not in text and json.loads(text)["depth_unit_scale_factor"] == 0.001


def test_depth_lies_on_the_mesh(stream, mesh):
    """As near as the noise of a Kinect, halved by the mean over four pixels, and not nearer for other intrinsics."""
    intrinsics = stream.intrinsics.clone()

    def median(shift_x: float, shift_y: float) -> float:
        stream.intrinsics = intrinsics + torch.tensor([0.0, 0.0, shift_x, shift_y])
        return float(np.median(np.concatenate([mesh.distance(stream.points(i, 2).numpy()) for i in range(0, 75, 10)])))

    try:
        here, *beside = (median(*shift) for shift in ((0, 0), (0.25, 0), (-0.25, 0), (0, 0.25), (0, -0.25)))
    finally:
        stream.intrinsics = intrinsics
    assert here < 0.003 and here < min(beside), (here, beside)


def test_distances_are_those_to_the_mesh(mesh):
    with np.load(ROOM / "distance_ground_truth.npz", allow_pickle=False) as arrays:
        points, distance = arrays["points"], arrays["distance"]
    assert points.shape == (40_000, 3) and distance.shape == (40_000,) and distance.min() >= 0
    error = np.abs(mesh.distance(points) - distance)  # of the mesh, which has fewer triangles than what was measured
    assert np.median(error) < 1e-4 and np.percentile(error, 99.9) < 3e-3
    assert 0.15 < (distance < 0.01).mean() < 0.3 and distance.max() > 1


def test_bounds_hold_what_is_measured(stream):
    low, high = stream.bounds().numpy()
    with np.load(ROOM / "distance_ground_truth.npz", allow_pickle=False) as arrays:
        assert ((arrays["points"] > low) & (arrays["points"] < high)).all(axis=1).mean() > 0.995
    assert np.allclose(high - low, [6.4, 6.0, 2.2], atol=0.35)


@pytest.mark.filterwarnings("error::UserWarning")
def test_nerfstudio_reads_it():
    check_scene(DepthStreamDataParserConfig(), ROOM)
    outputs = DepthStreamDataParserConfig(data=ROOM).setup().get_dataparser_outputs("train")
    assert len(outputs.cameras) == len(outputs.image_filenames) == len(outputs.metadata["depth_filenames"]) == 75
