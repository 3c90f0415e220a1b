"""The methods that nerfstudio discovers (entry-point group `nerfstudio.method_configs`)."""

from __future__ import annotations

from typing import Any

import torch
from nerfstudio.configs.base_config import MachineConfig, ViewerConfig
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.plugins.types import MethodSpecification

from eugen_fields.data.depth.depth_parser import DepthStreamDataParserConfig
from eugen_fields.live.pipelines import LiveFieldPipeline, LiveMappingPipeline
from eugen_fields.mapping.pipeline import MappingPipelineConfig
from eugen_fields.mapping.stream_data_manager import StreamDataManagerConfig
from eugen_fields.mapping.trainer import MappingTrainerConfig
from eugen_fields.models.isdf import ISDFModelConfig
from eugen_fields.models.mipnerf import MipNeRFModelConfig
from eugen_fields.models.nerf import NeRFModelConfig
from eugen_fields.models.planes import PlanesModelConfig
from eugen_fields.models.radiance import RadianceModelConfig
from eugen_fields.training.data_manager import FieldDataManagerConfig
from eugen_fields.training.optimizers import FieldOptimizerConfig
from eugen_fields.training.pipeline import FieldPipelineConfig
from eugen_fields.training.schedule import LayerAdamWConfig, PlaneAdamConfig, WarmupDecayConfig
from eugen_fields.training.trainer import FieldTrainerConfig

_TINY_GRID: dict[str, Any] = {
    "samples_per_diagonal": 192,
    "grid_resolution": 64,
    "grid_warmup_steps": 150,
    "grid_update_cells": 1 << 16,
    "eval_num_samples_per_chunk": 1 << 13,
}
_TINY_PLANES: dict[str, Any] = {**_TINY_GRID, "eval_num_samples_per_chunk": 1 << 15}


def _machine() -> MachineConfig:
    return MachineConfig(device_type="cuda" if torch.cuda.is_available() else "cpu")


def _viewer() -> ViewerConfig:
    return ViewerConfig(websocket_host="127.0.0.1", num_rays_per_chunk=1 << 14, quit_on_train_completion=False)


def _optimizers(warmup_steps: int = 100) -> dict[str, Any]:
    return {
        "fields": {"optimizer": FieldOptimizerConfig(), "scheduler": WarmupDecayConfig(warmup_steps=warmup_steps)},
        "camera_opt": {"optimizer": AdamOptimizerConfig(lr=1e-3, eps=1e-15), "scheduler": WarmupDecayConfig()},
    }


def _plane_optimizers(warmup_steps: int = 100) -> dict[str, Any]:
    """Planes and proposals have optimisers of their own."""
    groups = _optimizers(warmup_steps)
    for name in ("planes", "proposals"):
        schedule = WarmupDecayConfig(warmup_steps=warmup_steps)
        groups[name] = {"optimizer": PlaneAdamConfig(), "scheduler": schedule}
    return groups


def _trainer(
    method_name: str,
    model: RadianceModelConfig,
    rates: str,
    target_num_samples: int,
    max_num_rays: int,
    optimizers: dict[str, Any] | None = None,
    eval_pixels: int = 0,
    **settings: Any,
) -> FieldTrainerConfig:
    """The settings that all methods share."""
    return FieldTrainerConfig(
        method_name=method_name,
        vis="viewer+tensorboard",
        machine=_machine(),
        mixed_precision=True,
        rate_family=rates,
        optimizers=optimizers or _optimizers(),
        pipeline=FieldPipelineConfig(
            _target=LiveFieldPipeline,
            datamanager=FieldDataManagerConfig(
                dataparser=BlenderDataParserConfig(alpha_color=None),
                eval_num_rays_per_batch=1024,
                images_on_gpu=True,
                eval_pixels=eval_pixels,
            ),
            model=model,
            target_num_samples=target_num_samples,
            max_num_rays=max_num_rays,
        ),
        viewer=_viewer(),
        **settings,
    )


def _full_size(
    method_name: str, model: RadianceModelConfig, description: str, rates: str = "nerf", **settings: Any
) -> MethodSpecification:
    """A network for one GPU."""
    config = _trainer(
        method_name,
        model,
        rates,
        target_num_samples=1 << 18,
        max_num_rays=1 << 14,
        max_num_iterations=30_000,
        steps_per_eval_image=1000,
        steps_per_save=1000,
        **settings,
    )
    return MethodSpecification(config=config, description=description)


def _tiny(
    method_name: str,
    model: RadianceModelConfig,
    rates: str,
    target_num_samples: int,
    description: str,
    **settings: Any,
) -> MethodSpecification:
    """A network for a laptop CPU."""
    config = _trainer(
        method_name,
        model,
        rates,
        target_num_samples,
        max_num_rays=1 << 12,
        eval_pixels=200_000,  # more of them take a CPU minutes a view
        max_num_iterations=2_400,
        steps_per_eval_image=500,
        steps_per_save=500,
        **settings,
    )
    return MethodSpecification(config=config, description=description)


eugen_nerf = _full_size(
    "eugen-nerf", NeRFModelConfig(layer="eugen"), "NeRF (8x256) with EUGen hidden layers and an occupancy grid."
)

prp_nerf = _full_size(
    "prp-nerf", NeRFModelConfig(layer="prp"), "NeRF (8x256) with PRP hidden layers: tiny checkpoints."
)

eugen_mipnerf = _full_size(
    "eugen-mipnerf",
    MipNeRFModelConfig(layer="eugen"),
    "Mip-NeRF-style field (8x256) with EUGen hidden layers: anti-aliased, for captures without bounds too.",
)

prp_mipnerf = _full_size(
    "prp-mipnerf",
    MipNeRFModelConfig(layer="prp"),
    "Mip-NeRF-style field (8x256) with PRP hidden layers: tiny checkpoints.",
)

eugen_planes = _full_size(
    "eugen-planes",
    PlanesModelConfig(layer="eugen"),
    "Feature planes (up to 512 x 512, 16 channels) and a network (2x128) with EUGen hidden layers behind them.",
    "planes",
    optimizers=_plane_optimizers(),
)

prp_planes = _full_size(
    "prp-planes",
    PlanesModelConfig(layer="prp"),
    "Feature planes (up to 512 x 512, 16 channels) and a network (2x128) with PRP hidden layers behind them.",
    "planes",
    optimizers=_plane_optimizers(),
)

eugen_nerf_tiny = _tiny(
    "eugen-nerf-tiny",
    NeRFModelConfig(
        layer="eugen-residual",
        num_features=32,
        num_layers=4,
        layer_width=128,
        feature_dim=32,
        color_width=64,
        skip_connections=(),
        **_TINY_GRID,
        eval_num_rays_per_chunk=8192,
    ),
    "nerf tiny",
    1 << 13,
    "A small NeRF of four residual EUGen layers, sized for a laptop CPU.",
)

eugen_mipnerf_tiny = _tiny(
    "eugen-mipnerf-tiny",
    MipNeRFModelConfig(
        layer="eugen-residual",
        size="tiny",
        num_features=32,
        anneal_steps=300,
        **_TINY_GRID,
        eval_num_rays_per_chunk=512,
    ),
    "nerf tiny",
    1 << 14,  # two thirds of them go to the small proposal network
    "A small Mip-NeRF-style field of four residual EUGen layers, sized for a laptop CPU.",
    # at larger rates captures end in fog before the cameras, sooner or later, on one seed or another
    unbounded_rate_family="unbounded tiny",
)

eugen_planes_tiny = _tiny(
    "eugen-planes-tiny",
    PlanesModelConfig(
        layer="dense",
        size="tiny",
        num_features=64,  # of an EUGen head: as many multiplications as the dense one, once folded
        anneal_steps=300,
        **_TINY_PLANES,
        eval_num_rays_per_chunk=2048,
    ),
    "planes",
    48 << 8,  # 256 rays of 32 proposals and 16 samples
    "Small feature planes and a dense head (1x64), sized for a laptop CPU; for captures too.",
    optimizers=_plane_optimizers(warmup_steps=30),
)

_SDF_BOUNDS: dict[str, Any] = {"free_space_fit": 2.0, "unseen_depth": 0.8}
"""Of iSDF both are 0: free space is not fitted, and nothing is assumed of what was not seen."""


def _isdf(
    method_name: str,
    model: ISDFModelConfig,
    manager: StreamDataManagerConfig,
    rates: str,
    description: str,
) -> MethodSpecification:
    """Signed distance from a depth stream."""
    config = MappingTrainerConfig(
        method_name=method_name,
        vis="viewer+tensorboard",
        machine=_machine(),
        mixed_precision=False,  # gradients of gradients
        rate_family=rates,
        pipeline=MappingPipelineConfig(_target=LiveMappingPipeline, datamanager=manager, model=model),
        optimizers={
            "fields": {"optimizer": LayerAdamWConfig(), "scheduler": WarmupDecayConfig(warmup_steps=1, hold=0.7)}
        },
        viewer=_viewer(),
        steps_per_eval_batch=500,
        steps_per_eval_image=500,
        steps_per_save=500,
    )
    return MethodSpecification(config=config, description=description)


def _stream(**settings: Any) -> StreamDataManagerConfig:
    return StreamDataManagerConfig(dataparser=DepthStreamDataParserConfig(), eval_num_rays_per_batch=1000, **settings)


eugen_isdf = _isdf(
    "eugen-isdf",
    ISDFModelConfig(layer="eugen", replace=(4, 5), num_features=128, **_SDF_BOUNDS, eval_num_rays_per_chunk=1 << 14),
    _stream(),
    "sdf",
    "iSDF (6x256) with two EUGen hidden layers: signed distance from a posed depth stream.",
)

prp_isdf = _isdf(
    "prp-isdf",
    ISDFModelConfig(layer="prp", **_SDF_BOUNDS, eval_num_rays_per_chunk=1 << 14),
    _stream(),
    "sdf",
    "iSDF (6x256) with PRP hidden layers: tiny checkpoints.",
)

eugen_isdf_tiny = _isdf(
    "eugen-isdf-tiny",
    ISDFModelConfig(
        layer="eugen",
        replace=(4, 5),
        num_features=64,
        layer_width=128,
        position_scale=0.04,
        activation="relu",
        num_near_surface=4,
        num_stratified=7,
        **_SDF_BOUNDS,
        eval_num_rays_per_chunk=1 << 13,
    ),
    _stream(rays_per_frame=40),
    "sdf tiny",
    "A small iSDF (6x128) with two EUGen hidden layers, sized for a laptop CPU.",
)

METHODS: dict[str, FieldTrainerConfig] = {
    specification.config.method_name: specification.config  # type: ignore[misc]
    for specification in (
        eugen_nerf_tiny,
        eugen_nerf,
        prp_nerf,
        eugen_planes_tiny,
        eugen_mipnerf_tiny,
        eugen_mipnerf,
        prp_mipnerf,
        eugen_planes,
        prp_planes,
        eugen_isdf_tiny,
        eugen_isdf,
        prp_isdf,
    )
}
"""The default configuration of every method, by name."""
