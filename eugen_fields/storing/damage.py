"""What is said of files that are damaged."""

from __future__ import annotations

from eugen_fields.errors import InputError


class DamagedFile(InputError):
    """A file does not hold what a field file holds.

    Attributes:
        what: is wrong with it, without the name of the file.
    """

    def __init__(self, source: str, what: str) -> None:
        super().__init__(f"{source} is damaged, or no field file: {what}.")
        self.what = what
