"""Files are whole or not there, also where the disk is full."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.full_disk import file_size_limit

from eugen_fields.errors import InputError
from eugen_fields.writing import written_beside


def test_the_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.txt"
    with written_beside(path) as unfinished:
        unfinished.write_text("some")
        assert not path.exists()
    assert path.read_text() == "some" and [file.name for file in path.parent.iterdir()] == ["x.txt"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), written_beside(path) as unfinished:
        unfinished.write_text("half")
        raise ZeroDivisionError
    with (
        file_size_limit(1000),
        pytest.raises(InputError, match=r"cannot write .*x\.txt: File too large\. Do that\."),
        written_beside(path, advice="Do that.") as unfinished,
    ):
        unfinished.write_bytes(bytes(2000))
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["x.txt"]


def test_a_new_file_is_never_written_over_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.txt"

    def write(text: str) -> None:
        with written_beside(path, new=True) as unfinished:
            unfinished.write_text(text)

    write("first")
    with pytest.raises(FileExistsError):
        write("second")

    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    with pytest.raises(FileExistsError):
        write("third")
    assert path.read_text() == "first"
    path.unlink()
    write("fourth")
    assert path.read_text() == "fourth" and [file.name for file in tmp_path.iterdir()] == ["x.txt"]


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .*file/x.txt"), written_beside(tmp_path / "file" / "x.txt"):
        raise AssertionError("nothing to write to")
