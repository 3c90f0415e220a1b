"""COLMAP models: what is missing or empty is named; a whole one passes, as text and as binary."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from support.helpers import look_at_origin, write_colmap_scene

from eugen_fields.data.checks import check_scene
from eugen_fields.errors import InputError

MODEL = Path("colmap") / "sparse" / "0"


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_colmap_scene(tmp_path / "ball")


def refusal(scene: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        check_scene(ColmapDataParserConfig(**options), scene)
    return caught.value.message


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_whole_model_passes_and_its_cameras_look_at_the_object(scene: Path) -> None:
    check_scene(ColmapDataParserConfig(), scene)
    parser = ColmapDataParserConfig(
        data=scene, orientation_method="none", center_method="none", auto_scale_poses=False, eval_mode="all",
        assume_colmap_world_coordinate_convention=False,
    )  # fmt: skip
    outputs = parser.setup().get_dataparser_outputs("train")
    poses = [look_at_origin(2 * np.pi * index / 9, 0.2 + 0.3 * (index % 3), 4.0)[:3] for index in range(9)]
    assert np.abs(outputs.cameras.camera_to_worlds.numpy() - np.stack(poses)).max() < 1e-5


def test_a_binary_model_passes(scene: Path) -> None:
    model = scene / MODEL
    camera = (model / "cameras.txt").read_text().splitlines()[1].split()
    parameters = struct.pack("<8d", *map(float, camera[4:]))
    (model / "cameras.bin").write_bytes(struct.pack("<QiiQQ", 1, 1, 4, int(camera[2]), int(camera[3])) + parameters)
    lines = [line.split() for line in (model / "images.txt").read_text().splitlines()[1::2]]
    content = struct.pack("<Q", len(lines))
    for number, *pose, camera_id, name in lines:
        content += struct.pack("<i7di", int(number), *map(float, pose), int(camera_id))
        content += name.encode() + b"\0" + struct.pack("<Q", 0)
    (model / "images.bin").write_bytes(content)
    for name in ("cameras.txt", "images.txt"):
        (model / name).unlink()
    check_scene(ColmapDataParserConfig(), scene)
    (model / "images.bin").write_bytes(content[:-20])
    message = refusal(scene)
    assert "images.bin cannot be read" in message and "Export the model again" in message


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda scene: shutil.rmtree(scene / "colmap"), f"{MODEL} does not exist"),
        (lambda scene: (scene / MODEL / "cameras.txt").unlink(), "neither cameras.txt nor cameras.bin"),
        (lambda scene: (scene / MODEL / "images.txt").unlink(), "no images.txt"),
        (lambda scene: (scene / MODEL / "images.txt").write_text("# nothing\n"), "lists no image"),
        (lambda scene: (scene / MODEL / "images.txt").write_text("1 0 0\n\n"), "images.txt cannot be read"),
        (lambda scene: (scene / MODEL / "points3D.txt").unlink(), "`--load-3D-points False`"),
        (lambda scene: (scene / MODEL / "points3D.txt").write_text(""), "`--load-3D-points False`"),
        (lambda scene: replace(scene / MODEL / "cameras.txt", "OPENCV", "FOV"), "has the model FOV"),
        (lambda scene: replace(scene / MODEL / "cameras.txt", "1 OPENCV", "7 OPENCV"), "photo_0.png has camera 1"),
        (lambda scene: replace(scene / MODEL / "cameras.txt", "12.0 12.0", "nan 12.0"), "calibrate it again"),
        (lambda scene: replace(scene / MODEL / "cameras.txt", "24 24 ", "24 24 -"), "it must be positive"),
        (lambda scene: (scene / "images").rename(scene / "photos"), "--images-path"),
        (
            lambda scene: [path.unlink() for path in sorted((scene / "images").iterdir())[:5]],
            "5 of the model's 9 images",
        ),
        (lambda scene: (scene / "images" / "photo_3.png").write_bytes(b""), "photo_3.png cannot be read"),
        (lambda scene: replace(scene / MODEL / "cameras.txt", "24 24 ", "3200 24 "), "`--downscale-factor 1`"),
    ],
)
def test_what_is_missing_or_damaged_is_named(scene: Path, damage: Callable[[Path], object], says: str) -> None:
    damage(scene)
    assert says in refusal(scene)


def test_a_model_elsewhere_gets_the_right_hint(scene: Path) -> None:
    (scene / "colmap" / "sparse").rename(scene / "sparse")
    assert "`--colmap-path sparse/0`" in refusal(scene)
    check_scene(ColmapDataParserConfig(colmap_path=Path("sparse/0")), scene)


def test_points_are_not_needed(scene: Path) -> None:
    (scene / MODEL / "points3D.txt").unlink()
    check_scene(ColmapDataParserConfig(load_3D_points=False), scene)
