"""The pipelines of our methods, with what nerfstudio's page shows beside the render. ns-train and ns-viewer construct
them before they serve the page, so its door is closed here."""

from __future__ import annotations

from typing import Any

from eugen_fields.live.map_view import MapView
from eugen_fields.live.radiance_view import RadianceView
from eugen_fields.mapping.pipeline import MappingPipeline
from eugen_fields.serving import guard_pages
from eugen_fields.training.pipeline import FieldPipeline


class LiveFieldPipeline(FieldPipeline):
    """Trains a field of density and colour in view of nerfstudio's page, which finds views among the attributes of a
    pipeline.

    Attributes:
        field_view: card, mesh and slice of the field.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        guard_pages()
        super().__init__(*args, **kwargs)
        self.field_view = RadianceView(self.field_model)


class LiveMappingPipeline(MappingPipeline):
    """Maps a depth stream in view of nerfstudio's page.

    Attributes:
        map_view: card, mesh, slice and frames of the map.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        guard_pages()
        super().__init__(*args, **kwargs)
        self.map_view = MapView(self.map, self.datamanager)
