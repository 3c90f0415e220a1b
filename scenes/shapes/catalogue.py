"""The furniture models of Sweet Home 3D: `.sh3f` files, zip archives of OBJ + MTL + textures with a property list."""

import difflib
import io
import posixpath
import re
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from console import SceneError, reporting
from PIL import Image

FURNITURE = Path("/usr/share/sweethome3d/furniture")
"""Where Debian's package sweethome3d-furniture puts its catalogues."""

_PROPERTIES = "PluginFurnitureCatalog.properties"


@dataclass(frozen=True)
class Model:
    """One entry of a catalogue."""

    name: str
    """Last part of the identifier, such as hotDog."""
    title: str
    """Display name in the catalogue, such as "Hot dog"."""
    creator: str
    license: str
    archive: Path
    """The .sh3f file that holds the model."""
    member: str
    """Path of the OBJ file inside the archive."""
    rotation: np.ndarray
    """(3, 3) the catalogue's own rotation, applied before anything else; y is up."""
    size: tuple[float, float, float]
    """Width, depth and height of the real object, metres; NaN where the catalogue does not say."""

    @property
    def qualified_name(self) -> str:
        return f"{self.archive.stem}/{self.name}"

    def read_text(self, name: str | None = None) -> str:
        """The OBJ file, or a file beside it."""
        return self._read(name).decode("utf-8", errors="replace")

    def read_image(self, name: str) -> np.ndarray | None:
        """A texture beside the OBJ file as (height, width, 4) uint8, straight alpha; None if it is not there.

        Some MTL files name textures by a path on their author's machine: only the last part of it counts.
        """
        beside = re.split(r"[/\\]", name)[-1]
        if not self.holds(beside):
            return None
        with reporting(f"cannot read the texture {beside} in", self.archive):
            with Image.open(io.BytesIO(self._read(beside))) as image:
                return np.asarray(image.convert("RGBA"))

    def holds(self, name: str) -> bool:
        """Whether there is a file called `name` beside the OBJ file."""
        with _opened(self.archive) as archive:
            return self._beside(name) in archive.namelist()

    def _beside(self, name: str) -> str:
        return posixpath.join(posixpath.dirname(self.member), name)

    def _read(self, name: str | None) -> bytes:
        with _opened(self.archive) as archive:
            return archive.read(self.member if name is None else self._beside(name))


@contextmanager
def _opened(path: Path):
    """A catalogue as a zip archive; whatever is wrong with it becomes a SceneError."""
    try:
        with reporting("cannot read", path), zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, KeyError) as error:
        raise SceneError(f"{path} is not a whole furniture catalogue: {error}") from error


def find_models(catalogues: Path) -> list[Model]:
    """Every model with an OBJ file in the .sh3f catalogues of a folder, by catalogue and name."""
    archives = sorted(catalogues.glob("*.sh3f"))
    if not archives:
        raise SceneError(
            f"no .sh3f furniture catalogue in {catalogues}: `apt-get install sweethome3d-furniture` puts some in"
            f" {FURNITURE}, or name the folder that has them with --catalogues"
        )
    models = [model for archive in archives for model in _read_catalogue(archive)]
    return sorted(models, key=lambda model: (model.archive.name, model.name.casefold()))


def choose_model(models: list[Model], name: str) -> Model:
    """The model called `name`, or CATALOGUE/name; case and punctuation do not matter where that is unambiguous."""
    for spelling in (str, _plain):
        named = [model for model in models if spelling(name) in (spelling(model.name), spelling(model.qualified_name))]
        if len(named) == 1:
            return named[0]
        if named:
            choices = ", ".join(model.qualified_name for model in named)
            raise SceneError(f"several models are called {name!r}; say which: {choices}")
    spellings = {_plain(known): known for model in models for known in (model.name, model.qualified_name)}
    close = [spellings[match] for match in difflib.get_close_matches(_plain(name), spellings, n=5, cutoff=0.5)]
    hint = f"close matches: {', '.join(close)}" if close else "nothing is called much like it"
    raise SceneError(f"no model is called {name!r}; {hint}; --list shows them all")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9/]", "", name.casefold())


def _read_catalogue(archive: Path) -> list[Model]:
    with _opened(archive) as opened:
        properties = _parse_properties(opened.read(_PROPERTIES).decode("latin-1"))
    models = []
    for key, member in properties.items():
        entry, _, number = key.partition("#")
        if entry != "model" or not member.lower().endswith(".obj"):
            continue

        def size(side: str, number: str = number) -> float:
            return float(properties.get(f"{side}#{number}", "nan")) / 100

        rotation = [float(value) for value in properties.get(f"modelRotation#{number}", "1 0 0 0 1 0 0 0 1").split()]
        models.append(
            Model(
                name=properties.get(f"id#{number}", Path(member).stem).rpartition("#")[2],
                title=properties.get(f"name#{number}", ""),
                creator=properties.get(f"creator#{number}", "unknown"),
                license=" ".join(properties.get("license", "unknown").split()),
                archive=archive,
                member=member.lstrip("/"),
                rotation=np.array(rotation).reshape(3, 3),
                size=(size("width"), size("depth"), size("height")),
            )
        )
    return models


def _parse_properties(text: str) -> dict[str, str]:
    r"""The keys and values of a Java property list; \uXXXX escapes are undone."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    escape = re.compile(r"\\u([0-9a-fA-F]{4})")
    return {key.strip(): escape.sub(lambda code: chr(int(code[1], 16)), value.strip()) for key, value in pairs}
