"""Types of flags that name a layer kind, for command-line parsers, which read the choices off a type.

They are made when this file is first imported: kinds from outside the library have to be in LAYER_KINDS by then.
"""

from typing import TYPE_CHECKING, Literal, TypeAlias

from eugen_fields.layers.kinds import LAYER_KINDS, replacements

if TYPE_CHECKING:
    LayerName: TypeAlias = str
    ReplacementName: TypeAlias = str
else:
    LayerName = Literal[tuple(LAYER_KINDS)]
    """Any layer kind."""
    ReplacementName = Literal[tuple(replacements())]
    """Any layer kind that stands for dense layers, dense itself left out."""
