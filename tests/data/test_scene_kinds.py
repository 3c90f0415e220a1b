"""What kind of scene a folder holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from support.helpers import PROJECT, write_colmap_scene

from eugen_fields.benchmark.quality.train import make_config
from eugen_fields.data.scenes.kinds import scene_kind
from eugen_fields.errors import InputError


@pytest.mark.parametrize(
    ("scene", "kind", "words"),
    [
        ("hotdog", "object", "transforms_train.json"),
        ("garden_table", "capture", "transforms.json without depth"),
        ("room", "stream", "depth images"),
        ("hard/thin", "object", "in a box"),
    ],
)
def test_scenes_that_ship(scene: str, kind: str, words: str) -> None:
    found = scene_kind(PROJECT / "scenes" / scene)
    assert found.name == kind and words in found.why


def test_colmap_models_streams_and_photos(tmp_path: Path) -> None:
    found = scene_kind(write_colmap_scene(tmp_path / "colmap"))
    assert found.name == "capture" and found.colmap_path is not None and "COLMAP" in found.why
    for files in (("traj.txt",), ("groundtruth.txt", "depth.txt")):
        folder = tmp_path / files[0]
        folder.mkdir()
        for name in files:
            (folder / name).write_text("")
        assert scene_kind(folder).name == "stream"
    (tmp_path / "phone").mkdir()
    for index in range(3):
        Image.new("RGB", (4, 4)).save(tmp_path / "phone" / f"{index}.JPG", format="JPEG")
    found = scene_kind(tmp_path / "phone")
    assert found.name == "photos" and "3 images" in found.why


def test_an_object_that_has_both_files_stays_one(tmp_path: Path) -> None:
    for name in ("transforms.json", "transforms_train.json"):
        (tmp_path / name).write_text(json.dumps({"frames": []}))
    assert scene_kind(tmp_path).name == "object"


def test_configurations_read_what_the_folder_holds(tmp_path: Path) -> None:
    colmap = write_colmap_scene(tmp_path / "colmap")
    for scene, parser in (
        (PROJECT / "scenes" / "hotdog", "BlenderDataParserConfig"),
        (PROJECT / "scenes" / "garden_table", "NerfstudioDataParserConfig"),
        (colmap, "ColmapDataParserConfig"),
    ):
        config = make_config("eugen-planes-tiny", scene, tmp_path)
        assert type(config.pipeline.datamanager.dataparser).__name__ == parser
    assert (colmap / config.pipeline.datamanager.dataparser.colmap_path).is_dir()  # type: ignore[attr-defined]


def test_a_capture_with_depth_is_a_capture_for_methods_of_images(tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": [{"depth_file_path": "depth/0.png"}]}))
    assert scene_kind(tmp_path).name == "stream"
    config = make_config("eugen-planes-tiny", tmp_path, tmp_path / "out")
    assert type(config.pipeline.datamanager.dataparser).__name__ == "NerfstudioDataParserConfig"
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": 5}))
    assert scene_kind(tmp_path).name == "capture"


def test_folders_that_are_no_scene_are_named(tmp_path: Path) -> None:
    for folder, words in ((tmp_path / "nowhere", "does not exist"), (tmp_path, "is no scene: it has neither")):
        with pytest.raises(InputError) as caught:
            scene_kind(folder)
        assert str(folder) in caught.value.message and words in caught.value.message
    (tmp_path / "transforms.json").write_text("{")
    with pytest.raises(InputError, match=r"transforms\.json"):
        scene_kind(tmp_path)
