"""Lists of splits are used as far as they go, gaps are filled, and what is not as the file says is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from eugen_fields.data.scenes import notes
from eugen_fields.data.scenes.splits import blender_file, fill_splits, match_names
from eugen_fields.errors import InputError

FRAMES = [{"images/a.jpg"}, {"images\\b.jpg", "images/b.jpg"}, {"images/left/c.jpg"}, {"images/right/c.jpg"}, {"d"}]
NAMES = {"train": "the list train", "val": "the list val", "test": "the list test"}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """What was said since it was last asked for, in one line."""
    monkeypatch.setattr(notes, "_said", set())
    return lambda: " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("names", "indices"),
    [
        (["images/a.jpg"], [0]),
        (["images/b.jpg", "images/a.jpg", "images/a.jpg"], [0, 1]),
        (["images\\a.jpg", "./images/b"], [0, 1]),
        (["a.jpg", "b"], [0, 1]),
        (["left/c.jpg"], None),
        (["images/left/c.jpg", "images/right/c"], [2, 3]),
        (["c.jpg"], None),
        (["d"], [4]),
        (["gone.jpg", "a"], [0]),
        (["images/x.jpg"], None),
        ([], []),
    ],
)
def test_names_are_matched_where_they_mean_one_image(names: list[str], indices: list[int] | None) -> None:
    if indices is None:
        with pytest.raises(InputError, match=f"the list names 1 images that are no frame.*{names[0]}"):
            match_names("the list", names, FRAMES, {"images/gone.jpg"})
    else:
        assert match_names("the list", names, FRAMES, {"images/gone.jpg"}) == indices


@pytest.mark.parametrize("names", ["a.jpg", {"a.jpg": 1}, [3], None])
def test_what_is_no_list_is_named(names: object) -> None:
    with pytest.raises(InputError, match="the list must be a list"):
        match_names("the list", names, FRAMES, set())


@pytest.mark.parametrize(
    ("listed", "filled", "says"),
    [
        ({"train": [0, 1], "val": [2], "test": [3]}, {"train": [0, 1], "val": [2], "test": [3]}, ""),
        (
            {"train": [0, 1], "test": [2, 3]},
            {"train": [0, 1], "val": [2, 3], "test": [2, 3]},
            "the list val is not there; the list test stands in for it.",
        ),
        (
            {"train": [0, 1, 2, 3], "val": []},
            {"train": [0, 1, 2, 3], "val": [0, 1, 2, 3], "test": [0, 1, 2, 3]},
            "the list val names no image; what is trained on stands in for it.",
        ),
        (
            {"val": [3]},
            {"train": [0, 1, 2], "val": [3], "test": [3]},
            "the list train is not there; all images of no other list are trained on.",
        ),
        (
            {"train": [], "val": [1], "test": [3]},
            {"train": [0, 2], "val": [1], "test": [3]},
            "the list train names no image; all images of no other list are trained on.",
        ),
        (
            {"train": [0, 1, 2], "val": [2, 3], "test": [2, 3]},
            {"train": [0, 1, 2], "val": [2, 3], "test": [2, 3]},
            "1 images are evaluated on and trained on too",
        ),
        (
            {"train": [0], "val": [1], "test": [1]},
            {"train": [0], "val": [1], "test": [1]},
            "2 of 4 images are in none of the lists",
        ),
        ({"train": [], "val": [], "test": []}, dict.fromkeys(("train", "val", "test"), [0, 1, 2, 3]), "names no image"),
    ],
)
def test_gaps_are_filled_and_told(listed: dict, filled: dict, says: str, told) -> None:
    assert fill_splits(Path("scene"), listed, 4, NAMES) == filled
    said = told()
    assert says in said if says else said == ""
    fill_splits(Path("scene"), listed, 4, NAMES)
    assert told() == "", "said once"


@pytest.mark.parametrize(
    ("there", "split", "file"),
    [
        (("train", "val", "test"), "val", "val"),
        (("train", "test"), "val", "test"),
        (("train", "val"), "test", "val"),
        (("train",), "test", "train"),
        (("train",), "val", "train"),
    ],
)
def test_blender_scenes_need_only_their_training_images(there, split: str, file: str, told, tmp_path: Path) -> None:
    for name in there:
        (tmp_path / f"transforms_{name}.json").write_text("")
    assert blender_file(tmp_path, split) == tmp_path / f"transforms_{file}.json"
    said = told()
    assert f"transforms_{file}.json stands in for it" in said if file != split else said == ""
