"""Files are found by names as other programs write them, and no other file is taken for them."""

from __future__ import annotations

import codecs
import json
import unicodedata
from pathlib import Path

import pytest

from eugen_fields.data.scenes.names import FileFinder, clean_name
from eugen_fields.data.scenes.text import read_json, read_text
from eugen_fields.errors import InputError

FILES = (
    "images/photo_1.jpg",
    "images/photo_2.JPG",
    "images/Ümläut und Leerzeichen.png",
    "images/frame.0001.png",
    "images/left/0001.png",
    "images/right/0001.png",
    "top.png",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scene of photos")
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("name", "file"),
    [
        *((file, file) for file in FILES),
        *((f"./{file}", file) for file in FILES),
        *((file.replace("/", "\\"), file) for file in FILES),
        *((file.upper(), file) for file in FILES),
        *((file.rpartition(".")[0], file) for file in FILES),
        *((unicodedata.normalize("NFD", file), file) for file in FILES),
        *((f" {file}/ ", file) for file in FILES),
        (".\\images\\photo_1.jpg", "images/photo_1.jpg"),
        ("images//photo_1.jpg", "images/photo_1.jpg"),
        ("images/photo_2.jpg", "images/photo_2.JPG"),
        ("Images\\LEFT\\0001", "images/left/0001.png"),
    ],
)
def test_names_of_other_programs_are_understood(name: str, file: str, folder: Path) -> None:
    finder = FileFinder(folder)
    assert finder.find(name) == folder / file and not finder.elsewhere


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("C:\\Users\\me\\capture\\images\\photo_1.jpg", "images/photo_1.jpg"),
        ("D:/capture/images/right/0001.png", "images/right/0001.png"),
        ("\\\\server\\share\\images\\photo_2.jpg", "images/photo_2.JPG"),
        ("/home/me/capture/images/left/0001.png", "images/left/0001.png"),
        ("../capture/images/photo_1", "images/photo_1.jpg"),
        ("C:\\photos\\top.png", "top.png"),
    ],
)
def test_of_paths_of_another_place_the_end_is_looked_for(name: str, file: str, folder: Path) -> None:
    finder = FileFinder(folder)
    assert finder.find(name) == folder / file and finder.elsewhere == [name]


@pytest.mark.parametrize(
    "name",
    ["", " ", "/", ".", "..", "images", "images/", "images/photo_3.jpg", "photo_1.jpg", "left/0001.png",
     "images/photo_1.png", "other/top.png", "images/0001.png", "frame.0001.png"],
)  # fmt: skip
def test_no_other_file_is_taken_for_what_is_not_there(name: str, folder: Path) -> None:
    assert FileFinder(folder).find(name) is None


def test_absolute_paths_that_are_there_are_kept(folder: Path, tmp_path: Path) -> None:
    finder = FileFinder(tmp_path)
    assert finder.find(str(folder / "top.png")) == folder / "top.png"
    assert finder.find(str(folder / "TOP")) == folder / "top.png" and not finder.elsewhere


def test_what_may_be_either_of_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("x.png", "x.jpg", "y.PNG", "y.png"):
        (tmp_path / name).write_bytes(b"")
    assert FileFinder(tmp_path).find("x.png") == tmp_path / "x.png"
    assert FileFinder(tmp_path).find("y.PNG") == tmp_path / "y.PNG"
    assert FileFinder(tmp_path, ".png").find("x") == tmp_path / "x.png"
    for name in ("x", "Y.Png"):
        with pytest.raises(InputError, match=f'"{name}" may mean '):
            FileFinder(tmp_path).find(name)


@pytest.mark.parametrize(
    ("name", "clean"), [("a\\b\\c.png", "a/b/c.png"), ("./a/./b/", "a/b"), ("/a//b", "/a/b"), (" a b ", "a b")]
)
def test_clean_names(name: str, clean: str) -> None:
    assert clean_name(name) == clean and clean_name(clean) == clean


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_text_has_no_trace_of_its_encoding(encoding: str, newline: str, tmp_path: Path) -> None:
    content = {"name": "Ümläut", "numbers": [1, 2.5]}
    (tmp_path / "x.json").write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding, newline=newline)
    assert read_json(tmp_path / "x.json") == content
    assert not read_text(tmp_path / "x.json").startswith("\ufeff")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe\xff", "is not text in UTF-8"),
        ("Ümläut".encode("latin-1"), "is not text in UTF-8"),
        (b'{"a": ', "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (codecs.BOM_UTF8, "is not valid JSON"),
    ],
)
def test_files_that_are_no_json_are_named(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=f"x.json {says}"):
        read_json(tmp_path / "x.json")
    with pytest.raises(InputError, match=r"cannot read .*gone\.json"):
        read_json(tmp_path / "gone.json")
