"""What stands between the server of a page and those who ask it: files, names, and a token."""

from eugen_fields.serving.door import Door, is_public
from eugen_fields.serving.guard import ALLOW_HOST, guard_pages, page_address

__all__ = [
    "ALLOW_HOST",
    "Door",
    "guard_pages",
    "is_public",
    "page_address",
]
