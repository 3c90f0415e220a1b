"""Captures with a transforms.json: slips in cameras and masks give one clear message; masks keep pixels out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image
from support.helpers import write_capture_scene

from eugen_fields.data.checks import check_scene
from eugen_fields.errors import InputError
from eugen_fields.training.data_manager import FieldDataManagerConfig


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture_scene(tmp_path / "ball", count=4)


def edit(scene: Path, change: Callable[[dict], object]) -> None:
    path = scene / "transforms.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refusal(scene: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        check_scene(NerfstudioDataParserConfig(), scene, **options)
    return caught.value.message


def add_masks(scene: Path, mode: str = "L") -> None:
    """Masks that leave the right half of each image."""
    (scene / "masks").mkdir()
    mask = np.zeros((24, 24), dtype=np.uint8)
    mask[:, 12:] = 255

    def change(content: dict) -> None:
        for index, frame in enumerate(content["frames"]):
            frame["mask_path"] = f"masks/{index}.png"
            Image.fromarray(mask).convert(mode).save(scene / frame["mask_path"])

    edit(scene, change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: content.pop("fl_x"), "frame 0 (images/frame_00000.png): no fl_x"),
        (lambda content: content.update(fl_y=0), '"fl_y" is 0; it must be positive'),
        (lambda content: content.update(fl_x=-20.0), '"fl_x" is -20.0; it must be positive'),
        (lambda content: content.update(cx="left"), "\"cx\" is 'left'"),
        (lambda content: content.update(k1=float("nan")), '"k1" is nan; it must be a finite number'),
        (lambda content: content.update(distortion_params=[0, 0, float("inf"), 0, 0, 0]), '"distortion_params" is inf'),
        (lambda content: content.update(camera_model="BOX"), "\"camera_model\" is 'BOX'; it must be one of"),
        (lambda content: content["frames"][2].update(camera_model="OPENCV_FISHEYE"), "frame 2"),
        (lambda content: content["frames"][1].update(fl_x=3.0), 'frame 1 (images/frame_00001.png): "fl_x" is 3.0'),
        (lambda content: content["frames"][3].update(mask_path="m.png"), 'frame 3 has a "mask_path" and frame 0'),
        (
            lambda content: [f.update(file_path="gone.png") for f in content["frames"][:3]],
            "gone.png does not exist",
        ),
        (lambda content: content.update(w=48), "has 24x24 pixels, its camera says 48x24"),
    ],
)
def test_slips_are_named(capture: Path, change: Callable[[dict], object], says: str) -> None:
    edit(capture, change)
    message = refusal(capture)
    assert says in message and str(capture) in message


def test_a_capture_too_small_to_hold_images_back_gets_a_hint(capture: Path) -> None:
    assert "`--eval-mode all`" in refusal(capture)


def test_a_file_of_another_tool_gets_a_hint(capture: Path) -> None:
    edit(capture, lambda content: (content.pop("fl_x"), content.pop("fl_y"), content.update(camera_angle_x=0.7)))
    assert "`instant-ngp-data`" in refusal(capture)


def test_scales_that_do_not_fit_are_refused_before_training(capture: Path) -> None:
    message = refusal(capture, num_scales=5)
    assert "num-scales 5" in message and "24x24 pixels" in message and "num-scales 4" in message


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: Image.new("L", (12, 24)).save(path), "has 12x24 pixels, its image"),
        (lambda path: Image.new("L", (24, 24), 9).save(path), "is 9 at its brightest"),
        (lambda path: path.write_bytes(b"no image"), "cannot be read"),
    ],
)
def test_masks_that_do_not_fit_are_named(capture: Path, damage: Callable[[Path], object], says: str) -> None:
    add_masks(capture)
    damage(capture / "masks" / "0.png")
    message = refusal(capture)
    assert says in message and str(capture / "masks" / "0.png") in message


@pytest.mark.parametrize("num_scales", [1, 3])
@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA"])
def test_training_never_draws_a_masked_out_pixel(capture: Path, num_scales: int, mode: str) -> None:
    torch.manual_seed(0)
    add_masks(capture, mode)
    config = FieldDataManagerConfig(
        dataparser=NerfstudioDataParserConfig(data=capture, eval_mode="all"), images_on_gpu=True, num_scales=num_scales,
        train_num_rays_per_batch=4001,
    )  # fmt: skip
    check_scene(config.dataparser, capture, num_scales=num_scales)
    manager = config.setup(device="cpu", test_mode="val")
    for step in range(3):
        rays, batch = manager.next_train(step)
        width = manager.train_dataset.cameras.width[batch["indices"][:, 0], 0]
        assert (2 * batch["indices"][:, 2] >= width).all()
        assert len(rays) == len(batch["image"]) == 4001


def test_one_image_with_a_mask_is_enough(tmp_path: Path) -> None:
    scene = write_capture_scene(tmp_path / "ball", count=1)
    add_masks(scene)
    parser = NerfstudioDataParserConfig(data=scene, eval_mode="all", auto_scale_poses=False)
    manager = FieldDataManagerConfig(dataparser=parser, images_on_gpu=True).setup(device="cpu", test_mode="val")
    assert (manager.next_train(0)[1]["indices"][:, 2] >= 12).all()
