"""Field files: a whole neural field in a few kilobytes, written, read and rendered. FORMAT.md describes the format.

Reading needs torch and numpy alone; what writes files from runs is imported where it is used.
"""

from eugen_fields.storing.cameras import Camera
from eugen_fields.storing.loading import StoredField, load_field

__all__ = ["Camera", "StoredField", "load_field"]
