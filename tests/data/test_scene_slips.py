"""Scenes as other programs write them are read as they were meant: the same images, cameras and splits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.instant_ngp_dataparser import InstantNGPDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image
from support import depth_recordings
from support.helpers import write_capture_scene, write_colmap_scene

from eugen_fields.data.checks import check_scene
from eugen_fields.data.depth.depth_reading import read_depth_stream
from eugen_fields.data.multiscale import MultiScaleDataset
from eugen_fields.data.parsers.choose import set_up_parser
from eugen_fields.errors import InputError

SIZE = 24


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return write_capture_scene(tmp_path / "ball", count=6)


def edit(scene: Path, change: Callable[[dict], object], name: str = "transforms.json") -> None:
    path = scene / name
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def rename(scene: Path, change: Callable[[str], str]) -> None:
    """Has the scene's file name its images in another way."""
    edit(scene, lambda content: [frame.update(file_path=change(frame["file_path"])) for frame in content["frames"]])


def read(parser, split: str = "train"):
    check_scene(parser, parser.data)
    return set_up_parser(parser).get_dataparser_outputs(split)


def images_of(outputs) -> list[np.ndarray]:
    return [MultiScaleDataset(outputs).get_numpy_image(index) for index in range(len(outputs.image_filenames))]


def assert_same(outputs, truth) -> None:
    assert all(np.array_equal(*pair) for pair in zip(images_of(outputs), images_of(truth), strict=True))
    assert torch.equal(outputs.cameras.camera_to_worlds, truth.cameras.camera_to_worlds)
    for name in ("fx", "fy", "cx", "cy", "width", "height"):
        assert torch.equal(getattr(outputs.cameras, name), getattr(truth.cameras, name)), name


@pytest.mark.parametrize("kind", [NerfstudioDataParserConfig, InstantNGPDataParserConfig])
@pytest.mark.parametrize(
    "change",
    [
        lambda name: name.replace("/", "\\"),
        lambda name: name.removesuffix(".png"),
        lambda name: name.upper(),
        lambda name: f"C:\\capture\\{name}".replace("/", "\\"),
        lambda name: f"/home/somebody/capture/{name}",
        lambda name: f"./{name}/",
    ],
)
def test_names_of_images_are_understood(kind, change: Callable[[str], str], capture: Path) -> None:
    truth = read(kind(data=capture, eval_mode="all"))
    rename(capture, change)
    assert_same(read(kind(data=capture, eval_mode="all")), truth)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_are_understood(encoding: str, capture: Path, sphere_scene: Path, tmp_path: Path) -> None:
    truth = read(NerfstudioDataParserConfig(data=capture, eval_mode="all"))
    path = capture / "transforms.json"
    path.write_text(path.read_text(), encoding, newline="\r\n")
    assert_same(read(NerfstudioDataParserConfig(data=capture, eval_mode="all")), truth)
    scene = shutil.copytree(sphere_scene, tmp_path / "sphere")
    for path in scene.glob("*.json"):
        path.write_text(path.read_text(), encoding)
    parser = BlenderDataParserConfig(alpha_color=None, data=scene)
    assert_same(read(parser), read(BlenderDataParserConfig(alpha_color=None, data=sphere_scene)))


def test_names_with_blanks_and_umlauts(capture: Path) -> None:
    truth = images_of(read(NerfstudioDataParserConfig(data=capture, eval_mode="all")))
    (capture / "images").rename(capture / "Fotos vom Möbel")
    rename(capture, lambda name: name.replace("images", "Fotos vom Möbel"))
    outputs = read(NerfstudioDataParserConfig(data=capture, eval_mode="all"))
    assert all(np.array_equal(*pair) for pair in zip(images_of(outputs), truth, strict=True))


@pytest.mark.parametrize("ending", [".png", ".PNG", ".webp", ".jpg"])
@pytest.mark.parametrize("written", [True, False])
def test_blender_scenes_of_any_ending(ending: str, written: bool, sphere_scene: Path, tmp_path: Path) -> None:
    scene = shutil.copytree(sphere_scene, tmp_path / "sphere")
    for path in list(scene.rglob("*.png")):
        image = Image.open(path)
        path.unlink()
        options = {".webp": {"lossless": True}, ".jpg": {"quality": 95, "subsampling": 0}}.get(ending, {})
        image.convert("RGB" if ending == ".jpg" else "RGBA").save(path.with_suffix(ending), **options)
    if written:
        for split in ("train", "val", "test"):
            name = f"transforms_{split}.json"
            edit(scene, lambda content: [f.update(file_path=f["file_path"] + ending) for f in content["frames"]], name)
    outputs = read(BlenderDataParserConfig(alpha_color=None, data=scene))
    truth = read(BlenderDataParserConfig(alpha_color=None, data=sphere_scene))
    assert torch.equal(outputs.cameras.fx, truth.cameras.fx)
    for found, image in zip(images_of(outputs), images_of(truth), strict=True):
        if ending == ".jpg":
            assert np.abs(found.astype(int) - image[..., :3]).mean() < 6
        else:
            assert np.array_equal(found[..., 3], image[..., 3])
            assert np.array_equal(found[found[..., 3] > 0], image[image[..., 3] > 0])


@pytest.mark.parametrize("kind", [NerfstudioDataParserConfig, InstantNGPDataParserConfig])
def test_a_fox_of_67_frames_and_50_images(kind, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """instant-ngp's own example lists 67 frames and ships 50 images."""
    scene = write_capture_scene(tmp_path / "fox", count=67)
    edit(scene, lambda content: content.update(camera_angle_x=0.7, aabb_scale=4))
    for index in range(3, 37, 2):
        (scene / "images" / f"frame_{index:05d}.png").unlink()
    names = {path.name for split in ("train", "val") for path in read(kind(data=scene), split).image_filenames}
    assert names == {path.name for path in (scene / "images").iterdir()} and len(names) == 50
    said = [str(warning.message) for warning in recwarn if "frames without an image" in str(warning.message)]
    assert said and "17 of 67" in said[0]


@pytest.mark.parametrize("missing", [3, 4])
def test_a_scene_without_most_of_its_images_is_refused(missing: int, capture: Path) -> None:
    for index in range(missing):
        (capture / "images" / f"frame_{index:05d}.png").unlink()
    parser = NerfstudioDataParserConfig(data=capture, eval_mode="all")
    if missing == 3:
        assert len(read(parser).image_filenames) == 3
    else:
        with pytest.raises(InputError, match=r"frame_00000\.png does not exist.*\(4 of 6 are missing\)"):
            read(parser)


def test_frames_that_may_mean_one_file_are_refused(capture: Path) -> None:
    names = iter(["left/0.png", "right/0.png"])
    (capture / "images" / "frame_00000.png").rename(capture / "0.png")
    edit(capture, lambda content: [f.update(file_path=f"/gone/{name}") for f, name in zip(content["frames"], names)])
    with pytest.raises(InputError, match=r"/gone/left/0\.png and /gone/right/0\.png are not where .*0\.png may be"):
        read(NerfstudioDataParserConfig(data=capture, eval_mode="all"))


SPLIT = {"train": [0, 2, 3, 5], "val": [1], "test": [4]}


@pytest.mark.parametrize(
    ("lists", "evaluated"),
    [
        (SPLIT, [1]),
        (SPLIT | {"val": []}, [4]),
        ({"train": SPLIT["train"]}, SPLIT["train"]),
        ({"train": SPLIT["train"], "val": []}, SPLIT["train"]),
        ({"train": SPLIT["train"], "test": SPLIT["test"]}, [4]),
        ({"val": [1, 4]}, [1, 4]),
    ],
)
@pytest.mark.parametrize(
    "write", [lambda name: name, lambda name: name.replace("/", "\\"), lambda name: Path(name).stem]
)
def test_lists_of_splits_are_used_as_far_as_they_go(lists: dict, evaluated: list[int], write, capture: Path) -> None:
    names = [f"images/frame_{index:05d}.png" for index in range(6)]
    edit(
        capture,
        lambda content: content.update(
            {f"{split}_filenames": [write(names[index]) for index in indices] for split, indices in lists.items()}
        ),
    )
    parser = NerfstudioDataParserConfig(data=capture, eval_mode="all")
    for split, indices in (
        ("train", SPLIT["train"] if lists != {"val": [1, 4]} else SPLIT["train"]),
        ("val", evaluated),
    ):
        assert [path.name for path in read(parser, split).image_filenames] == [Path(names[i]).name for i in indices]


def test_lists_may_name_images_that_are_left_out_but_no_strangers(capture: Path) -> None:
    names = [f"images/frame_{index:05d}.png" for index in range(6)]
    edit(capture, lambda content: content.update(train_filenames=names[:4], val_filenames=names[4:]))
    (capture / "images" / "frame_00004.png").unlink()
    parser = NerfstudioDataParserConfig(data=capture)
    assert [path.name for path in read(parser, "val").image_filenames] == ["frame_00005.png"]
    edit(capture, lambda content: content.update(val_filenames=["images/nobody.png"]))
    with pytest.raises(InputError, match=r'transforms\.json: "val_filenames" names 1 images .*images/nobody\.png'):
        read(parser)


def test_the_advice_for_few_images_works(capture: Path) -> None:
    parser = NerfstudioDataParserConfig(data=capture)
    with pytest.raises(InputError, match="`--eval-mode all`"):
        read(parser)
    parser.eval_mode = "all"
    assert len(read(parser, "val").image_filenames) == 6


@pytest.mark.parametrize("gone", [("val",), ("test",), ("val", "test")])
def test_blender_scenes_without_a_split_are_read(gone: tuple[str, ...], broken_scene: Path) -> None:
    for split in gone:
        (broken_scene / f"transforms_{split}.json").unlink()
    parser = BlenderDataParserConfig(alpha_color=None, data=broken_scene)
    for split in gone:
        there = {"val", "test"} - set(gone)
        assert read(parser, split).image_filenames == read(parser, there.pop() if there else "train").image_filenames


def test_lists_of_a_colmap_scene(tmp_path: Path) -> None:
    scene = write_colmap_scene(tmp_path / "scene")
    (scene / "train_list.txt").write_text("\ufeffphoto_0.png\r\nphoto_2.png\r\n\r\n", encoding="utf-8")
    (scene / "validation_list.txt").write_text("photo_5\n")
    parser = ColmapDataParserConfig(data=scene)
    found = {split: [path.name for path in read(parser, split).image_filenames] for split in ("train", "val", "test")}
    assert found == {"train": ["photo_0.png", "photo_2.png"], "val": ["photo_5.png"], "test": ["photo_5.png"]}
    (scene / "test_list.txt").write_text("photo_99.png\n")
    with pytest.raises(InputError, match=r"test_list\.txt names 1 images"):
        read(parser)


@pytest.mark.parametrize("name", ["photo_3.png", "photo_3.png.png"])
def test_colmap_masks_of_either_name(name: str, tmp_path: Path) -> None:
    scene = write_colmap_scene(tmp_path / "scene")
    for path in (scene / "images").iterdir():
        mask = scene / "masks" / (path.name if name == "photo_3.png" else f"{path.name}.png")
        mask.parent.mkdir(exist_ok=True)
        Image.fromarray(np.tri(SIZE, dtype=np.uint8) * 255).save(mask)
    outputs = read(ColmapDataParserConfig(data=scene, masks_path=Path("masks")))
    assert torch.equal(MultiScaleDataset(outputs)[0]["mask"][..., 0], torch.tril(torch.ones(SIZE, SIZE)).bool())


def test_photos_that_are_stored_sideways(capture: Path) -> None:
    """All photos of a phone are stored sideways; the cameras have the upright size."""
    for path in (capture / "images").iterdir():
        Image.open(path).crop((0, 0, 24, 18)).save(path)
    edit(capture, lambda content: content.update(h=18, cy=9.0))
    truth = read(NerfstudioDataParserConfig(data=capture, eval_mode="all"))
    upright = images_of(truth)
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in (capture / "images").iterdir():
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    assert Image.open(path).size == (18, 24)
    outputs = read(NerfstudioDataParserConfig(data=capture, eval_mode="all"))
    assert all(np.array_equal(*pair) for pair in zip(images_of(outputs), upright, strict=True))
    edit(capture, lambda content: content.update(h=20))
    with pytest.raises(InputError, match=r"has 18x24 pixels \(and an EXIF orientation of 6\), its camera says 24x20"):
        read(NerfstudioDataParserConfig(data=capture, eval_mode="all"))


def test_a_damaged_test_image_is_found_before_training(broken_scene: Path) -> None:
    from eugen_fields.training.data_manager import FieldDataManagerConfig

    (broken_scene / "test" / "r_0.png").write_bytes(b"\x89PNG")
    config = FieldDataManagerConfig(dataparser=BlenderDataParserConfig(alpha_color=None))
    with pytest.raises(InputError, match=r"test/r_0\.png cannot be read"):
        config.check_data(broken_scene)


@pytest.mark.parametrize("write", [lambda name: name.replace("/", "\\"), lambda name: name.rpartition(".")[0]])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_depth_streams_of_other_programs(write: Callable[[str], str], encoding: str, tmp_path: Path) -> None:
    folder = depth_recordings.write_transforms(tmp_path / "recording", 5)
    truth = read_depth_stream(folder)
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    for frame in content["frames"]:
        frame.update({key: write(frame[key]) for key in ("file_path", "depth_file_path")})
    path.write_text(json.dumps(content), encoding, newline="\r\n")
    found = read_depth_stream(folder)
    assert found.depth_paths == truth.depth_paths and found.color_paths == truth.color_paths
    assert torch.equal(found.poses, truth.poses) and all(torch.equal(found.depth(i), truth.depth(i)) for i in range(5))


def test_tum_lists_of_other_programs(tmp_path: Path) -> None:
    folder = depth_recordings.write_tum(tmp_path / "recording", 5)
    truth = read_depth_stream(folder)
    for name in ("depth.txt", "rgb.txt", "groundtruth.txt"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("/", "\\"), "utf-8-sig", newline="\r\n")
    found = read_depth_stream(folder)
    assert found.depth_paths == truth.depth_paths and torch.equal(found.poses, truth.poses)
