"""A run knows its scene: it finds it where it moved to, and takes no other one for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image
from support import depth_recordings
from support.helpers import write_capture_scene, write_sphere_scene

from eugen_fields.data.depth.depth_parser import DepthStreamDataParserConfig
from eugen_fields.errors import InputError
from eugen_fields.runs.scene import SCENE_FILE, describe_scene, difference, find_scene, record_scene

BLENDER = BlenderDataParserConfig(alpha_color=None)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Folder of a run beside its scene, as nerfstudio places them, with the scene recorded."""
    write_sphere_scene(tmp_path / "here" / "sphere", train=5, test=1)
    folder = tmp_path / "here" / "outputs" / "sphere" / "method" / "run"
    folder.mkdir(parents=True)
    record_scene(folder, BLENDER, tmp_path / "here" / "sphere")
    return folder


def edit(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def repaint(path: Path) -> None:
    Image.open(path).rotate(90).save(path)


@pytest.mark.parametrize("kind", ["blender", "capture", "stream"])
def test_a_copy_is_the_same_scene_and_another_one_is_not(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser, write = {
        "blender": (BLENDER, lambda folder, count: write_sphere_scene(folder, train=count, test=1)),
        "capture": (
            NerfstudioDataParserConfig(eval_mode="all"),
            lambda folder, count: write_capture_scene(folder, count=count),
        ),
        "stream": (
            DepthStreamDataParserConfig(),
            lambda folder, count: depth_recordings.write_transforms(folder, count),
        ),
    }[kind]
    scene = write(tmp_path / "a" / "scene", 5)
    copy = shutil.copytree(scene, tmp_path / "b" / "copy of the scene")
    was = json.loads(json.dumps(describe_scene(parser, scene)))
    assert difference(was, describe_scene(parser, copy)) == ""
    monkeypatch.chdir(copy.parent)
    assert difference(was, describe_scene(parser, Path(copy.name))) == "", "by a relative path"
    (tmp_path / "link").symlink_to(copy)
    assert difference(was, describe_scene(parser, tmp_path / "link")) == ""
    other = write(tmp_path / "c" / "scene", 6)
    assert difference(was, describe_scene(parser, other)) == "has 6 training images, not 5"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda scene: repaint(scene / "train" / "r_0.png"), "has another image train/r_0.png"),
        (lambda scene: repaint(scene / "train" / "r_3.png"), "has another image train/r_3.png"),
        (
            lambda scene: edit(
                scene / "transforms_train.json",
                lambda content: content["frames"][2]["transform_matrix"][0].__setitem__(3, 7.5),
            ),
            "has another pose of train/r_2.png",
        ),
        (
            lambda scene: (
                (scene / "train" / "r_1.png").rename(scene / "train" / "x.png"),
                edit(
                    scene / "transforms_train.json",
                    lambda content: content["frames"][1].update(file_path="./train/x"),
                ),
            ),
            "has images of other names",
        ),
    ],
)
def test_what_differs_is_named(change: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    scene = write_sphere_scene(tmp_path / "sphere", train=5, test=1)
    was = describe_scene(BLENDER, scene)
    change(scene)
    assert difference(was, describe_scene(BLENDER, scene)) == says


def test_what_evaluation_adds_later_is_no_other_scene(tmp_path: Path) -> None:
    scene = write_capture_scene(tmp_path / "ball", count=4)
    parser = NerfstudioDataParserConfig(eval_mode="all")
    was = describe_scene(parser, scene)
    edit(scene / "transforms.json", lambda content: content.update(note="of a ball"))
    (scene / "images" / "another.png").write_bytes(b"")
    assert difference(was, describe_scene(parser, scene)) == ""


def test_the_scene_is_found_where_it_was(run: Path) -> None:
    scene = run.parents[3] / "sphere"
    assert find_scene(run, BLENDER, scene) == scene


def test_a_relative_scene_is_found_from_any_folder(run: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_scene(run, BLENDER, Path("sphere")) == run.parents[3] / "sphere"


@pytest.mark.parametrize("given", ["absolute", "relative"])
def test_the_scene_is_found_when_all_moved(given: str, run: Path, tmp_path: Path) -> None:
    data = run.parents[3] / "sphere" if given == "absolute" else Path("sphere")
    shutil.move(tmp_path / "here", tmp_path / "there")
    moved = tmp_path / "there" / run.relative_to(tmp_path / "here")
    assert find_scene(moved, BLENDER, data) == tmp_path / "there" / "sphere"


def test_another_scene_of_the_same_name_is_passed_over(run: Path, tmp_path: Path, monkeypatch) -> None:
    write_sphere_scene(tmp_path / "elsewhere" / "sphere", train=6, test=1)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert find_scene(run, BLENDER, Path("sphere")) == run.parents[3] / "sphere"


def test_a_run_may_lie_in_its_scene(tmp_path: Path) -> None:
    scene = write_sphere_scene(tmp_path / "sphere", train=3, test=1)
    folder = scene / "outputs" / "sphere" / "method" / "run"
    folder.mkdir(parents=True)
    assert find_scene(folder, BLENDER, scene) == scene
    record_scene(folder, BLENDER, scene)
    assert find_scene(folder, BLENDER, scene) == scene
    (tmp_path / "there").mkdir()
    moved = scene.rename(tmp_path / "there" / "sphere")
    assert find_scene(moved / folder.relative_to(scene), BLENDER, scene) == moved


def test_a_scene_that_is_gone_is_named_with_advice_that_works(run: Path, tmp_path: Path) -> None:
    scene = run.parents[3] / "sphere"
    scene.rename(tmp_path / "moved far away")
    with pytest.raises(InputError, match="does not exist; looked in ") as caught:
        find_scene(run, BLENDER, scene)
    place = run / "sphere"
    assert caught.value.message.endswith(f"Put the scene, or a link to it, at {place}.")
    place.symlink_to(tmp_path / "moved far away")
    assert find_scene(run, BLENDER, scene) == place


def test_another_scene_in_its_place_is_named_with_advice_that_works(run: Path, tmp_path: Path) -> None:
    scene = run.parents[3] / "sphere"
    scene.rename(tmp_path / "kept")
    write_sphere_scene(scene, train=7, test=1)
    with pytest.raises(InputError) as caught:
        find_scene(run, BLENDER, scene)
    assert f"{scene} has 7 training images, not 5" in caught.value.message
    (run / "sphere").symlink_to(tmp_path / "kept")
    assert find_scene(run, BLENDER, scene) == run / "sphere"
    (run / "sphere").unlink()
    assert f"remove {run / SCENE_FILE} to open" in caught.value.message
    (run / SCENE_FILE).unlink()
    assert find_scene(run, BLENDER, scene) == scene


def test_runs_of_earlier_versions_take_what_is_there(run: Path) -> None:
    (run / SCENE_FILE).unlink()
    scene = run.parents[3] / "sphere"
    assert find_scene(run, BLENDER, scene) == scene
    assert find_scene(run, BLENDER, Path("sphere")) == scene


@pytest.mark.parametrize("text", ["", "[]", '{"frames": 3}', '{"frames": 1, "names": 2, "samples": [7], "bytes": 3}'])
def test_a_damaged_description_is_named(text: str, run: Path) -> None:
    (run / SCENE_FILE).write_text(text)
    with pytest.raises(InputError, match=f"{SCENE_FILE} is damaged"):
        find_scene(run, BLENDER, run.parents[3] / "sphere")
