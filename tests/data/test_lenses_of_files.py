"""Lenses wherever a transforms file has them: every number counts, contradictions and impossible ones are refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nerfstudio.cameras.cameras import CAMERA_MODEL_TO_TYPE, CameraType
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.instant_ngp_dataparser import InstantNGPDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from support.captures import edit, read
from support.helpers import write_capture_scene, write_sphere_scene

from eugen_fields.data.cameras.intrinsics import TRAINABLE, Lens, read_cameras
from eugen_fields.data.checks import check_scene
from eugen_fields.errors import InputError

CAMERA = {"w": 40, "h": 30, "fl_x": 50.0, "fl_y": 51.0, "cx": 19.0, "cy": 16.0}


def lenses(whole: dict, *frames: dict, **options) -> list[Lens]:
    frames = frames or ({},)
    return read_cameras(
        Path("t.json"), whole | {"frames": [{"file_path": "a.png"} | frame for frame in frames]}, **options
    )


def refusal(whole: dict, *frames: dict, **options) -> str:
    with pytest.raises(InputError) as caught:
        lenses(whole, *frames, **options)
    return caught.value.message


def test_numbers_stand_in_the_file_or_in_frames_or_in_both() -> None:
    whole = {name: CAMERA[name] for name in ("w", "h", "cx")} | {"k1": 0.1, "cy": 16.0}
    first, second = lenses(
        whole, {"fl_x": 50, "fl_y": 51, "k2": 0.02}, {"fl_x": 60, "fl_y": 61, "cy": 16.0, "p2": 0.003}
    )
    assert first == Lens(CameraType.PERSPECTIVE, 40, 30, 50.0, 51.0, 19.0, 16.0, (0.1, 0.02, 0.0, 0.0, 0.0, 0.0))
    assert second == Lens(CameraType.PERSPECTIVE, 40, 30, 60.0, 61.0, 19.0, 16.0, (0.1, 0.0, 0.0, 0.0, 0.0, 0.003))


def test_distortion_by_name_and_as_a_list_is_the_same() -> None:
    listed = lenses(CAMERA, {"distortion_params": [1e-1, 2e-2, 3e-3, 4e-4, 5e-5, 6e-6]})
    named = lenses(CAMERA | {"k4": 4e-4, "p1": 5e-5}, {"k1": 1e-1, "k2": 2e-2, "k3": 3e-3, "p2": 6e-6})
    assert listed == named and named[0].distortion == (1e-1, 2e-2, 3e-3, 4e-4, 5e-5, 6e-6)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"camera_angle_x": 0.8}, (20 / math.tan(0.4), 20 / math.tan(0.4))),
        ({"camera_angle_x": 0.8, "camera_angle_y": 0.5}, (20 / math.tan(0.4), 15 / math.tan(0.25))),
        ({"camera_angle_y": 0.5}, (15 / math.tan(0.25), 15 / math.tan(0.25))),
        ({"x_fov": 90.0, "y_fov": 60.0}, (20.0, 15 / math.tan(math.pi / 6))),
        ({"fl_x": 44.0}, (44.0, 44.0)),
        ({"fl_x": 44.0, "fl_y": 45.0}, (44.0, 45.0)),
        ({"fl_x": 20 / math.tan(0.4), "camera_angle_x": 0.8, "fl_y": 45}, (20 / math.tan(0.4), 45.0)),
    ],
)
def test_angles_of_view_are_focal_lengths(change: dict, expected: tuple[float, float]) -> None:
    (lens,) = lenses({"w": 40, "h": 30} | change, angles=True)
    assert (lens.fx, lens.fy) == pytest.approx(expected) and (lens.cx, lens.cy) == (20.0, 15.0)


@pytest.mark.parametrize(
    ("whole", "frame", "says"),
    [
        (CAMERA | {"k1": 0.1}, {"k1": 0.2}, '"k1" is 0.2, but the file has 0.1'),
        (CAMERA | {"k4": 0.1}, {"k4": 0.2}, '"k4" is 0.2, but the file has 0.1'),
        (CAMERA, {"fl_y": 50}, '"fl_y" is 50, but the file has 51.0'),
        (CAMERA | {"k1": 0.1, "distortion_params": [0.2, 0, 0, 0, 0, 0]}, {}, 'but "distortion_params" has 0.2'),
        (CAMERA | {"distortion_params": [0.1, 0.2, 0, 0, 0.3]}, {}, "has 5 numbers; nerfstudio has 6, in the order k1"),
        (CAMERA | {"camera_angle_x": 0.8}, {}, '"camera_angle_x" 0.8 means a focal length of 47.304 pixels in 40'),
        (CAMERA | {"y_fov": 100.0}, {}, '"y_fov" 100.0 means a focal length of 12.586 pixels in 30'),
        (CAMERA | {"cx": 80.0, "cy": 60.0}, {}, "the principal point (80, 60) is outside the image of 40x30 pixels"),
        (CAMERA | {"cx": 0.5, "cy": 0.0}, {}, "the principal point (0.5, 0) is outside"),
        (CAMERA | {"w": 40.5}, {}, '"w" is 40.5; it must be a whole number of pixels'),
        (CAMERA | {"k5": 0.1}, {}, '"k5" is 0.1, which nerfstudio\'s camera model OPENCV does not have'),
        (CAMERA | {"skew": 2.0}, {}, '"skew" is 2.0, which'),
        (CAMERA | {"camera_model": "PINHOLE", "k1": 0.1}, {}, '"k1" is 0.1, which nerfstudio\'s camera model PINHOLE'),
        (CAMERA | {"camera_model": "RADIAL", "p1": 0.1}, {}, '"p1" is 0.1, which nerfstudio\'s camera model RADIAL'),
        (CAMERA | {"camera_model": "OPENCV", "is_fisheye": True}, {}, '"is_fisheye" is set, but "camera_model"'),
        (CAMERA | {"camera_model": ["OPENCV"]}, {}, '"camera_model" is [\'OPENCV\']; it must be one of SIMPLE_PINHOLE'),
        (CAMERA | {"camera_model": "FULL_OPENCV"}, {}, "\"camera_model\" is 'FULL_OPENCV'; it must be one of"),
        (CAMERA | {"camera_angle_x": 45.0}, {}, "must be an angle of view in radians, above 0 and below pi"),
        (CAMERA | {"x_fov": 0.0}, {}, "must be an angle of view in degrees, above 0 and below 180"),
        ({"w": 40, "h": 30}, {}, "no fl_x, fl_y, cx, cy"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_or_cannot_be_is_named(whole: dict, frame: dict, says: str) -> None:
    message = refusal(whole, frame)
    assert says in message and message.startswith("t.json")


def test_zeros_of_what_there_is_no_term_for_are_no_loss() -> None:
    zeros = {"k5": 0, "k6": 0.0, "skew": 0, "s1": 0.0, "is_fisheye": False, "rolling_shutter": [0.0, 0.0, 0.0]}
    assert lenses(CAMERA | zeros | {"camera_model": "PINHOLE", "k1": 0.0}) == lenses(CAMERA)


def test_frames_of_several_types_are_named() -> None:
    message = refusal(CAMERA, {"camera_model": "OPENCV"}, {"camera_model": "OPENCV_FISHEYE"})
    assert "frame 1: its camera is of type FISHEYE, that of frame 0 of type PERSPECTIVE" in message


@pytest.mark.parametrize("model", CAMERA_MODEL_TO_TYPE)
def test_every_model_that_nerfstudio_knows_is_read_or_refused(model: str, tmp_path: Path) -> None:
    scene = write_capture_scene(tmp_path / "ball", count=4)
    edit(scene, lambda content: content.update(camera_model=model))
    parser = NerfstudioDataParserConfig(data=scene, eval_mode="all")
    if CAMERA_MODEL_TO_TYPE[model] in TRAINABLE:
        check_scene(parser, scene)
        kinds = read(parser).cameras.camera_type
        assert (kinds == CAMERA_MODEL_TO_TYPE[model].value).all()
    else:
        with pytest.raises(InputError, match=f'nothing can be trained on cameras of "camera_model" {model}'):
            check_scene(parser, scene)


CHANGES: list[Callable[[dict], object]] = [
    lambda content: content.update(fl_x=40.0, fl_y=44.0, cx=11.0, cy=13.5, w=24, h=24),
    lambda content: [frame.update(fl_x=40.0, fl_y=44.0, cx=11.0, cy=13.5) for frame in content["frames"]],
    lambda content: content.update(
        camera_angle_x=2 * math.atan(12 / 40), camera_angle_y=2 * math.atan(12 / 44), cx=11.0, cy=13.5
    ),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("layout", ["blender", "instant-ngp"])
def test_layouts_with_an_angle_of_view_take_everything_that_the_file_says(
    change: Callable[[dict], object], layout: str, tmp_path: Path
) -> None:
    """nerfstudio's own parsers pass over fl_y, over what stands in frames, and, of Blender's layout, over all else."""
    if layout == "blender":
        scene, name = write_sphere_scene(tmp_path / "ball", train=3, test=1), "transforms_train.json"
        parser = BlenderDataParserConfig(data=scene)
    else:
        scene, name = write_capture_scene(tmp_path / "ball", count=4), "transforms.json"
        edit(scene, lambda content: [content.pop(key) for key in ("fl_x", "fl_y", "cx", "cy")])
        parser = InstantNGPDataParserConfig(data=scene, eval_mode="all")
    edit(scene, lambda content: content.pop("camera_angle_x", None), name)
    edit(scene, lambda content: (change(content), content.update(k1=-0.1, p2=0.01)), name)
    check_scene(parser, scene, ("train",))
    cameras = read(parser).cameras
    found = [float(getattr(cameras, key)[-1]) for key in ("fx", "fy", "cx", "cy", "width", "height")]
    assert found == pytest.approx([40.0, 44.0, 11.0, 13.5, 24, 24])
    assert cameras.distortion_params is not None
    assert cameras.distortion_params[-1].tolist() == pytest.approx([-0.1, 0, 0, 0, 0, 0.01])


def test_intrinsics_of_blender_scenes_at_another_size_are_named(tmp_path: Path) -> None:
    scene = write_sphere_scene(tmp_path / "ball", train=3, test=1)
    edit(scene, lambda content: content.update(w=48, h=48), "transforms_train.json")
    with pytest.raises(InputError, match="has 24x24 pixels, its camera says 48x48"):
        check_scene(BlenderDataParserConfig(), scene)
    edit(scene, lambda content: content.update(w=24, h=24, cx=48.0), "transforms_train.json")
    with pytest.raises(InputError, match=r"principal point \(48, 12\) is outside"):
        check_scene(BlenderDataParserConfig(), scene)


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 21])
def test_instant_ngp_files_of_any_size_are_read(count: int, tmp_path: Path) -> None:
    """With 10 to 19 photos one is for evaluation, where nerfstudio's own parser loses the list of poses."""
    scene = write_capture_scene(tmp_path / "ball", count=count)
    edit(scene, lambda content: [content.pop(key) for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")])
    edit(scene, lambda content: content.update(camera_angle_x=0.7, aabb_scale=4))
    parser = InstantNGPDataParserConfig(data=scene, eval_mode="fraction" if count > 9 else "all")
    check_scene(parser, scene, ("train", "val"))
    train, val = read(parser), read(parser, "val")
    assert (len(train.cameras), len(val.cameras)) == (
        (count, count) if count < 10 else (count - count // 10, count // 10)
    )
    assert np.allclose(val.cameras.fx, 12 / math.tan(0.35)) and val.cameras.camera_to_worlds.shape == (
        len(val.cameras),
        3,
        4,
    )
    assert train.scene_box.aabb.tolist() == [[-2.0] * 3, [2.0] * 3]


def test_what_a_file_says_and_nothing_reads_gets_a_line(tmp_path: Path) -> None:
    scene = write_capture_scene(tmp_path / "ball", count=4)
    edit(scene, lambda content: content.update(integer_depth_scale=0.001, sharpness=3, w=24))
    edit(scene, lambda content: content["frames"][2].update(exposure=2.0))
    with pytest.warns(UserWarning, match=r"transforms.json: not used: exposure, integer_depth_scale\."):
        read(NerfstudioDataParserConfig(data=scene, eval_mode="all"))


@pytest.mark.parametrize("name", ["from_mitsuba", "from_na"])
def test_instant_ngp_files_with_other_axes_are_named(name: str, tmp_path: Path) -> None:
    scene = write_capture_scene(tmp_path / "ball", count=4)
    edit(scene, lambda content: content.update({name: True}))
    with pytest.raises(InputError, match=f'"{name}" is set'):
        read(InstantNGPDataParserConfig(data=scene, eval_mode="all"))


@pytest.mark.parametrize("kind", [NerfstudioDataParserConfig, InstantNGPDataParserConfig])
def test_folders_may_be_relative(kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_capture_scene(tmp_path / "ball", count=4)
    monkeypatch.chdir(tmp_path)
    check_scene(kind(eval_mode="all"), Path("ball"))
    assert all(path.is_file() for path in read(kind(data=Path("ball"), eval_mode="all")).image_filenames)


def test_json_of_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    scene = write_capture_scene(tmp_path / "ball", count=4)
    path = scene / "transforms.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(json.loads(path.read_text())).encode())
    assert len(read(NerfstudioDataParserConfig(data=scene, eval_mode="all")).cameras) == 4
