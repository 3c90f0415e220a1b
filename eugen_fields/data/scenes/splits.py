"""Lists of the images of each split, with gaps filled: a scene that lists some of its splits has all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from eugen_fields.data.scenes.names import clean_name
from eugen_fields.data.scenes.notes import tell
from eugen_fields.errors import InputError

SPLITS = ("train", "val", "test")
_STAND_INS = {"val": ("test", "train"), "test": ("val", "train")}

_KEYS: tuple[Callable[[Path], str], ...] = (
    Path.as_posix,
    lambda path: path.with_suffix("").as_posix(),
    lambda path: path.name,
    lambda path: path.stem,
)
"""What a list may call an image, where no other image is called so."""


def match_names(source: str, names: object, frames: Sequence[Collection[str]], absent: Collection[str]) -> list[int]:
    """The frames that a list names.

    Args:
        source: what the list is, for messages.
        names: the list: paths as the frames have them, with or without endings, or names of files alone.
        frames: for each frame the paths that it goes by.
        absent: paths of frames that are left out; they may be named.

    Returns:
        indices of frames, in the order of the frames.

    Raises:
        InputError: it is no list of names, or names something that is no frame.
    """
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{source} must be a list of names of images.")
    known: dict[str, int | None] = {}
    for key in _KEYS:
        alike: dict[str, set[int]] = {}
        for index, paths in enumerate(frames):
            for path in paths:
                alike.setdefault(key(Path(clean_name(path))), set()).add(index)
        for name, indices in alike.items():
            known.setdefault(name, indices.pop() if len(indices) == 1 else None)
    gone = {key(Path(clean_name(path))) for path in absent for key in _KEYS}
    matched = {name: known.get(clean_name(name)) for name in names}
    unknown = [name for name, index in matched.items() if index is None and clean_name(name) not in gone]
    if unknown:
        raise InputError(
            f"{source} names {len(unknown)} images that are no frame of the scene, or more than one (first: "
            f"{unknown[0]}). Correct or remove the names."
        )
    return sorted({index for index in matched.values() if index is not None})


def fill_splits(
    source: Path, listed: dict[str, list[int]], num_frames: int, names: dict[str, str]
) -> dict[str, list[int]]:
    """The frames of all splits, where at least one list is there.

    A list that is absent or empty is replaced: val and test by each other, else by the training frames; train by all
    frames that are in neither of the others.

    Args:
        source: what holds the lists, for notes.
        listed: frames by split, of the lists that there are.
        num_frames: of the scene.
        names: what each split's list is called, for notes.
    """
    given = {split: indices for split, indices in listed.items() if indices}
    held_out = {*given.get("val", ()), *given.get("test", ())}
    train = given.get("train") or [index for index in range(num_frames) if index not in held_out]
    filled = {"train": train}
    for split, (other, _) in _STAND_INS.items():
        filled[split] = given.get(split) or given.get(other) or train
        if split not in given:
            place = names[other] if other in given else "what is trained on"
            tell(f"{source}: {names[split]} {_state(split, listed)}; {place} stands in for it.")
    if "train" not in given:
        tell(f"{source}: {names['train']} {_state('train', listed)}; all images of no other list are trained on.")
    both = held_out & set(train)
    if both:
        tell(f"{source}: {len(both)} images are evaluated on and trained on too, as both lists name them.")
    unused = num_frames - len(held_out | set(train))
    if unused:
        tell(f"{source}: {unused} of {num_frames} images are in none of the lists of splits and are not used.")
    return filled


def _state(split: str, listed: dict[str, list[int]]) -> str:
    return "names no image" if split in listed else "is not there"


def blender_file(data: Path, split: str) -> Path:
    """The transforms file of a split of a Blender scene, or of the split that stands in for it where there is none."""
    for name in (split, *_STAND_INS.get(split, ())):
        path = data / f"transforms_{name}.json"
        if path.exists():
            if name != split:
                tell(f"{data} has no transforms_{split}.json; {path.name} stands in for it.")
            return path
    return data / f"transforms_{split}.json"
