"""iSDF: frames come in order, keyframes are kept, a map is trained on them."""

from eugen_fields.mapping.frame_clock import FrameClock
from eugen_fields.mapping.pipeline import MappingPipeline, MappingPipelineConfig
from eugen_fields.mapping.stream_data_manager import StreamDataManager, StreamDataManagerConfig
from eugen_fields.mapping.trainer import MappingTrainer, MappingTrainerConfig

__all__ = [
    "FrameClock",
    "MappingPipeline",
    "MappingPipelineConfig",
    "MappingTrainer",
    "MappingTrainerConfig",
    "StreamDataManager",
    "StreamDataManagerConfig",
]
