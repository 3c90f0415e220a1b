"""What our methods change in nerfstudio's training: start-up checks, ray budget, checkpoints, schedule, processes."""

from eugen_fields.training.data_manager import FieldDataManager, FieldDataManagerConfig
from eugen_fields.training.pipeline import FieldPipeline, FieldPipelineConfig, SharedWeightsPipeline
from eugen_fields.training.schedule import LayerAdamConfig, LayerAdamWConfig, WarmupDecayConfig
from eugen_fields.training.trainer import FieldTrainer, FieldTrainerConfig

__all__ = [
    "FieldDataManager",
    "FieldDataManagerConfig",
    "FieldPipeline",
    "FieldPipelineConfig",
    "FieldTrainer",
    "FieldTrainerConfig",
    "LayerAdamConfig",
    "LayerAdamWConfig",
    "SharedWeightsPipeline",
    "WarmupDecayConfig",
]
