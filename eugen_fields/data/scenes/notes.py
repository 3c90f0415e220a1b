"""What a person should know of a scene, said once."""

from __future__ import annotations

from nerfstudio.utils.rich_utils import CONSOLE

_said: set[str] = set()


def tell(sentence: str) -> None:
    """Prints a sentence on a line of its own; no second time in a process, as scenes are read several times."""
    if sentence not in _said:
        _said.add(sentence)
        CONSOLE.print(sentence, markup=False, highlight=False, soft_wrap=True)
