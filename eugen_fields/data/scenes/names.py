"""Finds the files that a scene names, as programs on other machines write names."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from eugen_fields.errors import InputError

IMAGE_ENDINGS = (
    ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".tga", ".ppm", ".pgm", ".jp2", ".avif",
)  # fmt: skip
"""Endings that a name may lack."""
HEIF_ENDINGS = (".heic", ".heif")
PHOTO_ENDINGS = (*IMAGE_ENDINGS, *HEIF_ENDINGS)
"""Endings of photos that eugen-photos reads, and copies to images."""

_ABSOLUTE = re.compile(r"/|[A-Za-z]:/")


def clean_name(text: str) -> str:
    """A name with slashes between folders, without what means nothing in it: blanks around it, "./", a slash behind."""
    parts = [part for part in text.strip().replace("\\", "/").split("/") if part not in ("", ".")]
    return ("/" if text.strip()[:1] in ("/", "\\") else "") + "/".join(parts)


class FileFinder:
    """Finds files below a folder by names that are not quite those on the disk.

    Backslashes, other case, other Unicode forms of a letter and missing endings are understood. Of an absolute path, or
    one that leaves the folder, that leads nowhere here, as much of its end is looked for below the folder as is there.

    Args:
        root: the folder that names are relative to.
        default_ending: what a name without an ending means if such a file is there; empty: nothing in particular.
        endings: that a name may lack.

    Attributes:
        elsewhere: the names of which only an end was found.
    """

    def __init__(self, root: Path, default_ending: str = "", endings: tuple[str, ...] = IMAGE_ENDINGS) -> None:
        self.root = root
        self.default_ending = default_ending
        self.endings = endings
        self.elsewhere: list[str] = []
        self._listings: dict[Path, dict[str, list[str]]] = {}

    def find(self, text: str) -> Path | None:
        """The file that a name means; None if there is none.

        Raises:
            InputError: several files that it may mean.
        """
        if text and (self.root / text).is_file():
            return self.root / text
        name = clean_name(text)
        absolute = _ABSOLUTE.match(name)
        parts = name[absolute.end() :].split("/") if absolute else name.split("/")
        found = self._walk(Path("/") if absolute else self.root, parts)
        if found is not None or not (absolute or ".." in parts):
            return found
        for start in range(1, len(parts)):
            found = self._walk(self.root, parts[start:])
            if found is not None:
                self.elsewhere.append(text)
                return found
        return None

    def _walk(self, folder: Path, parts: list[str]) -> Path | None:
        """The file at the end of a path."""
        for part in parts[:-1]:
            if part != ".." and not (folder / part).is_dir():
                names = [name for name in self._alike(folder, part) if (folder / name).is_dir()]
                if len(names) != 1:
                    return None
                part = names[0]
            folder = folder / part
        name = parts[-1]
        if not name or name == "..":
            return None
        for exact in (name, name + self.default_ending):
            if (folder / exact).is_file():
                return folder / exact
        for endings in (("",), self.endings):
            names = [match for ending in endings for match in self._alike(folder, name + ending)]
            names = [match for match in names if (folder / match).is_file()]
            if len(names) > 1:
                raise InputError(
                    f'the name "{name}" may mean {" or ".join(sorted(names))} in {folder}. Write the whole name in the '
                    "scene's file, or remove the files that are not meant."
                )
            if names:
                return folder / names[0]
        return None

    def _alike(self, folder: Path, name: str) -> list[str]:
        """The names in a folder that differ from one in case and in the Unicode form of letters at most."""
        if folder not in self._listings:
            listing: dict[str, list[str]] = {}
            try:
                entries = sorted(path.name for path in folder.iterdir())
            except OSError:
                entries = []
            for entry in entries:
                listing.setdefault(_plain(entry), []).append(entry)
            self._listings[folder] = listing
        return self._listings[folder].get(_plain(name), [])


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def inside(path: Path, folder: Path) -> str:
    """A path relative to a folder if it lies in it, with slashes."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()
