"""Whether a scene is an object in a box or goes on without bound."""

from __future__ import annotations

from typing import Any

_BOUNDED = ("BlenderDataParserConfig", "DNeRFDataParserConfig")


def is_bounded(parser: Any) -> bool:
    """Whether the scenes of a data parser lie inside their scene box.

    Those of nerfstudio's Blender parsers do: an object on a transparent background, at several scales or one. Captures
    of all other parsers may show what is far behind their scene box. This is a default for the kind of scene, by the
    data parser alone; images are not opened.

    Args:
        parser: a data parser's config, its class, or the dotted path of its class as config.yml has it.
    """
    if isinstance(parser, str):
        return parser.rpartition(".")[2] in _BOUNDED
    kind = parser if isinstance(parser, type) else type(parser)
    return any(base.__name__ in _BOUNDED for base in kind.__mro__)
