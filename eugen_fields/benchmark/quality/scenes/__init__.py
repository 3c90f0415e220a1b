"""Many small scenes, each trained with several networks: where a method fails that a single scene does not show."""

from eugen_fields.benchmark.quality.scenes.scenes import Scenes

__all__ = ["Scenes"]
