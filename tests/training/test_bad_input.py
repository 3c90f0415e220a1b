"""Bad input: one clear message (what, where, what would do), exit status not 0, no traceback, before any training."""

from __future__ import annotations

import copy
import json
import os
import socket
from pathlib import Path

import pytest
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.scripts import train
from support.helpers import TRAIN_FLAGS, command

from eugen_fields.errors import InputError
from eugen_fields.methods import eugen_nerf_tiny


def start(scene: Path, output: Path, **model: object):
    """The configuration that ns-train would start with."""
    config = copy.deepcopy(eugen_nerf_tiny.config)
    config.data, config.output_dir, config.vis, config.timestamp = scene, output, "tensorboard", "run"
    config.max_num_iterations = 1
    for name, value in model.items():
        assert hasattr(config.pipeline.model, name)
        setattr(config.pipeline.model, name, value)
    return config


def refusal(config) -> str:
    """Runs ns-train's main and returns the message it ends with; nothing must have been trained."""
    with pytest.raises(InputError) as caught:
        train.main(config)
    assert isinstance(caught.value, ValueError) and str(caught.value) == caught.value.message
    assert not list(Path(config.output_dir).rglob("*.ckpt"))
    return caught.value.message


def edit(scene: Path, change, split: str = "train") -> Path:
    path = scene / f"transforms_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def test_absent_scene_is_named(tmp_path: Path) -> None:
    message = refusal(start(tmp_path / "nowhere", tmp_path / "out"))
    assert "nowhere does not exist" in message and "--data" in message


def test_scene_without_transforms_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    message = refusal(start(tmp_path / "empty", tmp_path / "out"))
    assert "has no transforms_train.json" in message


def test_capture_given_to_the_blender_parser_gets_the_right_hint(capture_scene: Path, tmp_path: Path) -> None:
    assert "`nerfstudio-data`" in refusal(start(capture_scene, tmp_path / "out"))


def test_blender_scene_given_to_the_capture_parser_gets_the_right_hint(sphere_scene: Path, tmp_path: Path) -> None:
    config = start(sphere_scene, tmp_path / "out")
    config.pipeline.datamanager.dataparser = NerfstudioDataParserConfig()
    assert "`blender-data`" in refusal(config)


def test_malformed_json_is_named_with_its_line(broken_scene: Path, tmp_path: Path) -> None:
    path = broken_scene / "transforms_val.json"
    path.write_text('{"camera_angle_x": 0.7,\n "frames": [')
    message = refusal(start(broken_scene, tmp_path / "out"))
    assert str(path) in message and "line 2" in message


def test_zero_frames_are_refused(broken_scene: Path, tmp_path: Path) -> None:
    path = edit(broken_scene, lambda content: content["frames"].clear())
    message = refusal(start(broken_scene, tmp_path / "out"))
    assert str(path) in message and "at least one posed image" in message


def test_missing_camera_angle_is_refused(broken_scene: Path, tmp_path: Path) -> None:
    path = edit(broken_scene, lambda content: content.pop("camera_angle_x"))
    message = refusal(start(broken_scene, tmp_path / "out"))
    assert f"{path}, frame 0" in message and "no focal length" in message and "camera_angle_x (radians)" in message


def test_a_scene_without_most_of_its_images_is_refused(broken_scene: Path, tmp_path: Path) -> None:
    for index in (0, 2):
        (broken_scene / "train" / f"r_{index}.png").unlink()
    message = refusal(start(broken_scene, tmp_path / "out"))
    assert str(broken_scene / "train" / "r_0.png") in message and "does not exist" in message


@pytest.mark.parametrize("index", [0, 1])
def test_truncated_image_is_named(broken_scene: Path, tmp_path: Path, index: int) -> None:
    image = broken_scene / "train" / f"r_{index}.png"
    image.write_bytes(image.read_bytes()[:-60])
    message = refusal(start(broken_scene, tmp_path / "out"))
    assert str(image) in message and "cannot be read" in message


def test_image_of_another_size_is_named_with_both_sizes(broken_scene: Path, tmp_path: Path) -> None:
    from PIL import Image

    path = broken_scene / "train" / "r_1.png"
    Image.open(path).resize((20, 16)).save(path)
    message = refusal(start(broken_scene, tmp_path / "out"))
    assert str(path) in message and "20x16" in message and "24x24" in message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda frame: frame["transform_matrix"][0].__setitem__(3, float("nan")), "NaN"),
        (lambda frame: frame["transform_matrix"][1].__setitem__(1, 7.0), "not rigid"),
        (lambda frame: [row.__setitem__(0, -row[0]) for row in frame["transform_matrix"][:3]], "not rigid"),
        (lambda frame: frame.__setitem__("transform_matrix", [[1, 2], [3]]), "not a 4x4 matrix"),
        (lambda frame: frame.pop("transform_matrix"), "not a 4x4 matrix"),
        (lambda frame: frame.pop("file_path"), '"file_path"'),
    ],
)
def test_bad_frames_are_named(broken_scene: Path, tmp_path: Path, change, says: str) -> None:
    path = edit(broken_scene, lambda content: change(content["frames"][1]))
    message = refusal(start(broken_scene, tmp_path / "out"))
    assert f"{path}, frame 1" in message and says in message


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"num_features": 0}, "num_features is 0"),
        ({"num_features": -3}, "num-features is -3"),
        ({"replace": (9,)}, "replace names layer 9"),
        ({"layer": "prp", "rank": -1}, "rank is -1"),
        ({"layer": "fancy"}, "layer is 'fancy'"),
        ({"init": "magic"}, "init is 'magic'"),
        ({"layer_width": 0}, "layer_width is 0"),
        ({"grid_resolution": 1}, "grid_resolution is 1"),
    ],
)
def test_wrong_layer_options_are_named(sphere_scene: Path, tmp_path: Path, options: dict, says: str) -> None:
    assert says in refusal(start(sphere_scene, tmp_path / "out", **options))


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_rate_factors_out_of_range_are_named(sphere_scene: Path, tmp_path: Path, factor: float) -> None:
    config = start(sphere_scene, tmp_path / "out")
    config.rate_factor = factor
    assert "--rate-factor is" in refusal(config)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_of_rays_out_of_range_is_named(sphere_scene: Path, tmp_path: Path, share: float) -> None:
    config = start(sphere_scene, tmp_path / "out")
    config.pipeline.datamanager.least_foreground = share
    assert "--pipeline.datamanager.least-foreground is" in refusal(config)


@pytest.mark.parametrize(
    "flags, said",
    [
        ({"layer": "prp", "order": 2}, ["--pipeline.model.order changes nothing: prp layers"]),
        ({"layer": "dense", "norm": False, "rank": 3}, ["--pipeline.model.norm", "--pipeline.model.rank"]),
        ({"layer": "eugen", "order": 2, "norm": False}, []),
        ({"layer": "prp", "rank": 2, "matrix": "hadamard"}, []),
    ],
)
def test_options_that_the_layers_do_not_have_are_named(
    sphere_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture, flags: dict[str, object], said: list[str]
) -> None:
    start(sphere_scene, tmp_path / "out", **flags).prepare()
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("changes nothing") == len(said) and all(line in printed for line in said)


def test_cuda_without_a_device_is_refused(sphere_scene: Path, tmp_path: Path) -> None:
    config = start(sphere_scene, tmp_path / "out")
    config.machine.device_type = "cuda"
    assert "torch finds no CUDA device" in refusal(config)


def test_unwritable_output_is_named(sphere_scene: Path, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    message = refusal(start(sphere_scene, blocker))
    assert str(blocker) in message and "--output-dir" in message


def test_port_in_use_is_named(sphere_scene: Path, tmp_path: Path) -> None:
    config = start(sphere_scene, tmp_path / "out")
    config.vis = "viewer"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        config.viewer.websocket_port = taken.getsockname()[1]
        message = refusal(config)
    assert f":{config.viewer.websocket_port}" in message and "--viewer.websocket-port" in message


def test_load_dir_that_is_no_folder_is_named(sphere_scene: Path, tmp_path: Path) -> None:
    config = start(sphere_scene, tmp_path / "out")
    config.load_dir = tmp_path / "gone"
    assert "--load-dir" in refusal(config)


@pytest.mark.e2e
def test_the_command_itself_exits_without_traceback(sphere_scene: Path, tmp_path: Path) -> None:
    flags = ("--data", sphere_scene, "--output-dir", tmp_path / "out", "--pipeline.model.num-features", 0)
    result = command("ns-train", "eugen-nerf-tiny", *flags, *TRAIN_FLAGS)
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    assert "\nerror: --pipeline.model.* flags: num_features is 0" in "\n" + result.stderr
    assert not os.path.exists(tmp_path / "out")
