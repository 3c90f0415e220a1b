"""What nerfstudio's page shows of a field while it trains: a card, a mesh and a slice."""

from eugen_fields.live.map_view import MapView
from eugen_fields.live.pipelines import LiveFieldPipeline, LiveMappingPipeline
from eugen_fields.live.radiance_view import RadianceView

__all__ = [
    "LiveFieldPipeline",
    "LiveMappingPipeline",
    "MapView",
    "RadianceView",
]
