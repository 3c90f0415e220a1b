"""Neural fields for 3D reconstruction built from EUGen and PRP layers, as nerfstudio methods."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eugen_fields.storing import StoredField

__version__ = "0.1.0"


def load_field(path: str | Path) -> StoredField:
    """Opens a field file that `eugen-export RUN --field FILE` has written. Needs torch and numpy alone.

    >>> stored = eugen_fields.load_field("scene.field")
    >>> picture = stored.render(stored.cameras[0])["rgb"]  # (height, width, 3), in [0, 1]

    Raises:
        errors.InputError: there is no such file, or it is damaged, of a later version or no field file.
    """
    from eugen_fields.storing import load_field as load

    return load(path)
