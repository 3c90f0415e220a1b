"""Depth streams: one scene in every layout and format gives the same points, in order, in metres, in the same world."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.depth_recordings import (
    CX,
    CY,
    FPS,
    FX,
    FY,
    HEIGHT,
    HIGH,
    LOW,
    WIDTH,
    depth_image,
    poses,
    world_points,
    write_color,
    write_depth,
    write_replica,
    write_transforms,
    write_tum,
)  # fmt: skip

from eugen_fields.data.depth import depth_reading
from eugen_fields.data.depth.depth_images import to_metres
from eugen_fields.data.depth.depth_reading import read_depth_stream

LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "transforms-png": write_transforms,
    "transforms-npy": lambda folder: write_transforms(folder, suffix=".npy"),
    "transforms-exr": lambda folder: write_transforms(folder, suffix=".exr"),
    "transforms-tiff": lambda folder: write_transforms(folder, suffix=".tiff"),
    "replica": write_replica,
    "tum": write_tum,
}


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_points_in_the_same_world(layout: str, tmp_path: Path) -> None:
    stream = read_depth_stream(LAYOUTS[layout](tmp_path))
    assert len(stream) == 8 and (stream.width, stream.height) == (WIDTH, HEIGHT)
    for frame, pose in zip(stream, poses(8)):
        assert frame.pose.dtype == frame.depth.dtype == torch.float32
        np.testing.assert_allclose(frame.pose.numpy(), pose, atol=1e-6)
        np.testing.assert_allclose(frame.depth.numpy(), depth_image(pose), atol=1e-6)
        np.testing.assert_allclose(stream.points(frame.index).numpy(), world_points(pose), atol=1e-5)
        assert int(stream.color(frame.index)[0, 0, 0]) == pytest.approx(10 * frame.index, abs=2)


def test_points_lie_on_the_walls(tmp_path: Path) -> None:
    """What the other tests compare with is the room itself, not the same formula twice."""
    stream = read_depth_stream(write_tum(tmp_path))
    points = torch.cat([stream.points(index) for index in range(8)]).numpy()
    assert np.minimum(np.abs(points - LOW), np.abs(points - HIGH)).min(axis=-1).max() < 1e-3
    assert (points > LOW - 1e-3).all() and (points < HIGH + 1e-3).all()


def test_stride_takes_every_so_many_rows_and_columns(tmp_path: Path) -> None:
    stream = read_depth_stream(write_transforms(tmp_path))
    expected = world_points(poses(8)[3]).reshape(HEIGHT, WIDTH, 3)[::5, ::5].reshape(-1, 3)
    np.testing.assert_allclose(stream.points(3, stride=5).numpy(), expected, atol=1e-5)


def test_frames_come_by_timestamp(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    edit(tmp_path, lambda content: content["frames"].reverse())
    stream = read_depth_stream(tmp_path)
    assert [path.stem for path in stream.depth_paths] == [f"{index:04d}" for index in range(8)]
    np.testing.assert_allclose(stream.timestamps.numpy(), np.arange(8) / FPS)
    np.testing.assert_allclose(stream.poses.numpy(), poses(8), atol=1e-6)


def test_without_timestamps_they_come_as_the_file_has_them(tmp_path: Path) -> None:
    write_transforms(tmp_path)

    def change(content: dict) -> None:
        content["frames"] = [{k: v for k, v in frame.items() if k != "timestamp"} for frame in content["frames"][::-1]]

    edit(tmp_path, change)
    stream = read_depth_stream(tmp_path, fps=10.0)
    assert [path.stem for path in stream.depth_paths] == [f"{index:04d}" for index in range(7, -1, -1)]
    np.testing.assert_allclose(stream.timestamps.numpy(), np.arange(8) / 10)


def test_times_since_1970_keep_their_fractions(tmp_path: Path) -> None:
    stream = read_depth_stream(write_tum(tmp_path))
    np.testing.assert_allclose((stream.timestamps - stream.timestamps[0]).numpy(), np.arange(8) / FPS, atol=2e-6)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_no_depth_is_zero(dtype: type) -> None:
    image = np.array([[0, 1000, 5000, 65535]], dtype=dtype)
    assert to_metres(image, 0.001, 4.0).tolist() == [[0, 1, 0, 0]]
    assert to_metres(image, 0.001).tolist() == [[0, 1, 5, 0 if dtype is np.uint16 else pytest.approx(65.535)]]
    odd = np.array([np.nan, np.inf, -np.inf, -1.0, 2.0], dtype=np.float32)
    assert to_metres(odd, 1.0).tolist() == [0, 0, 0, 0, 2]


def test_pixels_without_depth_give_no_points(tmp_path: Path) -> None:
    write_transforms(tmp_path, suffix=".npy")
    depth = depth_image(poses(8)[2])
    depth[3:9, 4] = [0, np.nan, np.inf, -np.inf, -2.0, 0]
    write_depth(tmp_path / "depth/0002.npy", depth, 1.0)
    stream = read_depth_stream(tmp_path)
    assert (stream.depth(2)[3:9, 4] == 0).all() and stream.depth(2).isfinite().all()
    assert len(stream.points(2)) == WIDTH * HEIGHT - 6


def test_max_depth_drops_what_is_farther(tmp_path: Path) -> None:
    stream = read_depth_stream(write_transforms(tmp_path), max_depth=2.0)
    for frame, pose in zip(stream, poses(8)):
        depth = depth_image(pose)
        np.testing.assert_allclose(frame.depth.numpy(), np.where(depth <= 2.0, depth, 0), atol=1e-6)


def test_frames_that_cannot_be_used_are_skipped_with_one_warning(tmp_path: Path) -> None:
    write_transforms(tmp_path, count=12)

    def change(content: dict) -> None:
        frames = content["frames"]
        frames[3]["transform_matrix"][0][3] = float("nan")
        frames[4]["transform_matrix"] = (1.1 * np.array(frames[4]["transform_matrix"])).tolist()
        frames[5].pop("transform_matrix")
        frames[9].pop("depth_file_path")

    edit(tmp_path, change)
    (tmp_path / "depth/0001.png").unlink()
    (tmp_path / "depth/0006.png").write_bytes(b"no image")
    write_depth(tmp_path / "depth/0007.png", np.zeros((HEIGHT, WIDTH)), 1000.0)
    write_depth(tmp_path / "depth/0008.png", np.ones((HEIGHT, WIDTH + 1)), 1000.0)
    with pytest.warns(UserWarning) as caught:
        stream = read_depth_stream(tmp_path)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "skipped 8 of 12 frames" in message
    assert "3 with a pose that is missing, not finite or not rigid (first: frame 3," in message
    assert "4 without a depth image that can be used (first: frame 1, " in message and "which is not there" in message
    assert "1 without any depth (first: frame 7," in message
    kept = [0, 2, 10, 11]
    np.testing.assert_allclose(stream.timestamps.numpy(), np.array(kept) / FPS)
    np.testing.assert_allclose(stream.poses.numpy(), poses(12)[kept], atol=1e-6)
    np.testing.assert_allclose(stream.points(2).numpy(), world_points(poses(12)[10]), atol=1e-5)


def test_a_whole_stream_warns_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_depth_stream(write_transforms(tmp_path))


def test_replica_frames_go_by_their_numbers(tmp_path: Path) -> None:
    write_replica(tmp_path)
    (tmp_path / "results/depth000002.png").unlink()
    with pytest.warns(
        UserWarning, match="skipped 1 of 8 frames.*first: frame 2, .*depth000002.png, which is not there"
    ):
        stream = read_depth_stream(tmp_path)
    np.testing.assert_allclose(stream.poses[2].numpy(), poses(8)[3], atol=1e-6)
    np.testing.assert_allclose(stream.points(2).numpy(), world_points(poses(8)[3]), atol=1e-5)
    assert float(stream.timestamps[2]) == pytest.approx(3 / FPS)


def test_replica_noisy_depth_and_isdf_configuration(tmp_path: Path) -> None:
    folder = write_replica(tmp_path / "seqs" / "nav")
    camera = json.loads((folder / "cam_params.json").read_text())["camera"]
    (folder / "cam_params.json").unlink()
    del camera["scale"]
    (tmp_path / "seqs" / "config.json").write_text(json.dumps({"dataset": {"depth_scale": 4000, "camera": camera}}))
    for index, pose in enumerate(poses(8)):
        write_depth(folder / f"results/depth{index:06d}.png", depth_image(pose), 4000.0)
        write_depth(folder / f"results/ndepth{index:06d}.png", depth_image(pose) + 0.01, 4000.0)
    truth = depth_image(poses(8)[4])
    np.testing.assert_allclose(read_depth_stream(folder, noisy_depth=True).depth(4), truth + 0.01, atol=1e-6)
    np.testing.assert_allclose(read_depth_stream(folder).depth(4).numpy(), truth, atol=1e-6)


def test_tum_poses_farther_than_20_ms_are_none(tmp_path: Path) -> None:
    write_tum(tmp_path)
    path = tmp_path / "groundtruth.txt"
    comment, *rows = [line for line in path.read_text().splitlines() if " 9.000000000" not in line]
    for index, lag in ((2, 0.0195), (5, 0.0205)):
        time, *rest = rows[index].split()
        rows[index] = " ".join([f"{float(time) - 0.004 + lag:.6f}", *rest])
    path.write_text("\n".join([comment, *rows]))
    with pytest.warns(UserWarning, match="skipped 1 of 8 frames.*first: frame 5, "):
        stream = read_depth_stream(tmp_path)
    np.testing.assert_allclose(stream.poses.numpy(), poses(8)[[0, 1, 2, 3, 4, 6, 7]], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rgbd_dataset_freiburg1_desk", (525.0, 525.0, 320.0, 240.0)),
        ("rgbd_dataset_freiburg3_long_office_household", (535.4, 539.2, 320.6, 248.1)),
    ],
)
def test_tum_cameras_are_those_of_the_benchmark(name: str, expected: tuple, tmp_path: Path) -> None:
    folder = write_tum(tmp_path / name, count=1)
    (folder / "camera.json").unlink()
    stream = read_depth_stream(folder)
    scale = torch.tensor([WIDTH / 640, HEIGHT / 480]).repeat(2)  # depth images smaller than the camera's
    torch.testing.assert_close(stream.intrinsics[0], torch.tensor(expected) * scale)


def test_a_camera_file_goes_before_the_one_in_the_folder(tmp_path: Path) -> None:
    folder = write_tum(tmp_path / "desk", count=1)
    camera = {"w": WIDTH, "h": HEIGHT, "fx": 40, "fy": 41, "cx": 1, "cy": 2, "scale": 2500}
    (tmp_path / "mine.json").write_text(json.dumps(camera))
    stream = read_depth_stream(folder, camera_file=tmp_path / "mine.json")
    assert stream.intrinsics.tolist() == [[40, 41, 1.5, 2.5]]
    np.testing.assert_allclose(stream.depth(0).numpy(), 2 * depth_image(poses(1)[0]), atol=1e-5)


def test_depth_smaller_than_its_camera_keeps_its_rays(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    edit(
        tmp_path,
        lambda content: content.update(w=3 * WIDTH, h=3 * HEIGHT, fl_x=3 * FX, fl_y=3 * FY, cx=3 * CX, cy=3 * CY),
    )
    stream = read_depth_stream(tmp_path)
    np.testing.assert_allclose(stream.points(5).numpy(), world_points(poses(8)[5]), atol=1e-5)


def test_every_frame_may_have_its_own_intrinsics(tmp_path: Path) -> None:
    write_transforms(tmp_path)

    def change(content: dict) -> None:
        del content["fl_x"]
        for index, frame in enumerate(content["frames"]):
            frame["fl_x"] = FX + 0.02 * index

    edit(tmp_path, change)
    assert read_depth_stream(tmp_path).intrinsics[:, 0].tolist() == pytest.approx(
        [FX + 0.02 * index for index in range(8)]
    )


def test_large_streams_are_read_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read_depth_stream(write_transforms(tmp_path), max_depth=2.5)
    monkeypatch.setattr(depth_reading, "_IN_MEMORY_BYTES", 8 * WIDTH * HEIGHT * 4 - 1)
    monkeypatch.setattr("eugen_fields.data.depth.depth_streams._RECENT_FRAMES", 2)
    lazy = read_depth_stream(tmp_path, max_depth=2.5)
    assert whole.depths is not None and lazy.depths is None
    for index in (0, 5, 5, 7, 0, -1):
        assert torch.equal(lazy.depth(index), whole.depth(index))
    assert len(lazy._recent) == 2 and lazy.depth(0) is lazy.depth(0)


def test_bounds_hold_room_and_cameras_but_not_strays(tmp_path: Path) -> None:
    write_transforms(tmp_path, count=42)
    depth = depth_image(poses(42)[1])
    depth[0, :2] = 60.0
    write_depth(tmp_path / "depth/0001.png", depth, 1000.0)
    box = read_depth_stream(tmp_path).bounds(margin=0.1).numpy()
    np.testing.assert_allclose(box[0], LOW - 0.1, atol=0.01)
    np.testing.assert_allclose(box[1, :2], HIGH[:2] + 0.1, atol=0.01)
    assert 1.6 < box[1, 2] < HIGH[2] + 0.11  # the ceiling is hardly seen


def test_cameras_outside_of_what_is_seen_are_in_the_bounds(tmp_path: Path) -> None:
    stream = read_depth_stream(write_transforms(tmp_path, count=1))
    box = stream.bounds(margin=0.0)
    assert (box[0] <= stream.poses[0, :3, 3]).all() and (box[1] >= stream.poses[0, :3, 3]).all()


def test_color_is_all_or_none(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    (tmp_path / "images/0003.png").unlink()
    with pytest.warns(UserWarning, match="1 of 8 frames have no colour image on disk.*0003.png"):
        stream = read_depth_stream(tmp_path)
    assert stream.color_paths is None and stream.color(0) is None and len(stream) == 8


def test_color_may_be_larger_than_depth(tmp_path: Path) -> None:
    write_transforms(tmp_path)
    for index in range(8):
        write_color(tmp_path / f"images/{index:04d}.png", index, (2 * WIDTH, 2 * HEIGHT))
    color = read_depth_stream(tmp_path).color(3)
    assert color is not None and color.shape == (2 * HEIGHT, 2 * WIDTH, 3) and color[5, 5].tolist() == [30, 20, 30]
