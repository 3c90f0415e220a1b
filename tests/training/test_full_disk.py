"""A training on a full disk ends with one line that says so, and leaves nothing that is unfinished."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from nerfstudio.scripts import train
from support.full_disk import file_size_limit
from support.helpers import typed
from torch.utils.tensorboard import SummaryWriter

from eugen_fields.errors import InputError, full_disk
from eugen_fields.training.event_files import PATTERN, disk_errors, drop_half_event


def records_of(path: Path) -> tuple[int, int]:
    """The number of whole events in a file, and the bytes behind them."""
    content, count, start = path.read_bytes(), 0, 0
    while start + 12 <= len(content):
        end = start + 16 + struct.unpack_from("<Q", content, start)[0]
        if end > len(content):
            break
        count, start = count + 1, end
    return count, len(content) - start


def test_a_training_that_cannot_write_its_config_leaves_none(sphere_scene: Path, tmp_path: Path) -> None:
    config = typed("eugen-nerf-tiny", sphere_scene, tmp_path, "--max-num-iterations", 2)
    config.pipeline.datamanager.data = sphere_scene
    with file_size_limit(2000), pytest.raises(InputError, match=r"cannot write .*config\.yml: File too large"):
        config.save_config()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_training_that_cannot_describe_its_scene_leaves_its_place_free(
    sphere_scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise InputError("cannot write scene.json: No space left on device.")

    config = typed("eugen-nerf-tiny", sphere_scene, tmp_path, "--max-num-iterations", 2)
    config.pipeline.datamanager.data = sphere_scene
    with monkeypatch.context() as patch, pytest.raises(InputError, match="No space left"):
        patch.setattr("eugen_fields.training.trainer.record_scene", full)
        config.save_config()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    config.save_config()
    assert (config.get_base_dir() / "scene.json").is_file()


def test_a_half_file_of_nerfstudio_is_removed(tmp_path: Path) -> None:
    (tmp_path / "dataparser_transforms.json").write_text('{"transform": [[1.0,')
    with file_size_limit(10), pytest.raises(InputError), disk_errors(tmp_path):
        (tmp_path / "another").write_text("longer than ten bytes")
    assert not (tmp_path / "dataparser_transforms.json").exists()


def test_a_training_that_cannot_write_its_first_checkpoint_says_so(sphere_scene: Path, tmp_path: Path) -> None:
    config = typed("eugen-nerf-tiny", sphere_scene, tmp_path, "--max-num-iterations", 2)
    with file_size_limit(100_000), pytest.raises(InputError, match=r"step-000000001\.ckpt: File too large\. Earlier"):
        train.main(config)
    names = {path.name for path in config.get_base_dir().rglob("*") if path.is_file()}
    assert {"config.yml", "scene.json", "dataparser_transforms.json"} <= names
    assert not [name for name in names if "unfinished" in name or name.endswith(".ckpt")]


def test_a_training_that_cannot_log_says_so_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """TensorBoard writes in a thread of its own."""
    with pytest.raises(InputError, match=f"cannot write to {tmp_path}: File too large"), disk_errors(tmp_path):
        summaries = SummaryWriter(tmp_path)
        summaries.add_text("before", "x" * 100)
        summaries.flush()
        with file_size_limit(3000):
            for step in range(50):
                summaries.add_text("name", "x" * 200, step)
            summaries.flush()
    assert "Traceback" not in capsys.readouterr().err
    (path,) = tmp_path.glob(PATTERN)
    count, rest = records_of(path)
    assert count >= 2 and rest == 0


@pytest.mark.parametrize("cut", [1, 20, 30])
def test_half_an_event_is_dropped(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1"
    event = struct.pack("<Q", 10) + b"crc1" + b"0123456789" + b"crc2"
    path.write_bytes(3 * event + event[:-cut] if cut < len(event) else 3 * event)
    drop_half_event(path)
    assert path.read_bytes() == 3 * event
    path.write_bytes(event[:-3])
    drop_half_event(path)
    assert not path.exists()


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "gone").read_text()
    assert full_disk(FileNotFoundError(2, "No such file")) is None
    assert full_disk(ValueError("x")) is None
