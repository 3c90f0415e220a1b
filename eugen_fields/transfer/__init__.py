"""A trained run turned into a run with smaller layers; the functions are in `fit`, `new_run`, `rays` and `teacher`."""

from eugen_fields.transfer.options import TransferOptions

__all__ = [
    "TransferOptions",
]
