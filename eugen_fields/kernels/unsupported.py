"""Why a network cannot be evaluated by a kernel."""

import contextlib
from collections.abc import Iterator


class Unsupported(ValueError):
    """A kernel cannot evaluate or train this network; the message is the reason, in words for one log line."""


@contextlib.contextmanager
def part(name: str) -> Iterator[None]:
    """Reasons raised inside begin with the name of the part of the network that they are about."""
    try:
        yield
    except Unsupported as error:
        raise Unsupported(f"{name}: {error}") from error
