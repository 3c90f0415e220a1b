"""What a trained run loses when it is given smaller layers, against networks that are small from the start."""

from eugen_fields.benchmark.quality.transfer.transfer import Transfer

__all__ = ["Transfer"]
