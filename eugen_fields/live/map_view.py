"""A growing map in nerfstudio's viewer: mesh, slice, frames and a card, kept up to date."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from nerfstudio.configs.base_config import ViewerConfig
from torch import Tensor

from eugen_fields.fields.sdf import SDFField
from eugen_fields.live.field_view import FieldView
from eugen_fields.live.map_frames import MapFrames
from eugen_fields.live.refresh import Refresh
from eugen_fields.live.slices import slice_colors
from eugen_fields.mapping.stream_data_manager import StreamDataManager
from eugen_fields.meshing.extraction.distance import distance_mesh
from eugen_fields.models.isdf import ISDFModel
from eugen_fields.sampling import SeenCells

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

_MESH_CELLS = 64
_MESH_COLOR = (168, 182, 196)
_SLICE_METRES = 1.0
"""Distance from which on the colours of the slice stay the same."""
_FRUSTUM_SCALE = 1.5
"""Size of camera frusta in viewer units, ten per metre; nerfstudio's default is for scenes of unit size."""
_CPU_RENDER_PIXELS = 164
"""Pixels along the longer side of a render without a GPU; the panel can ask for more."""


class MapView(FieldView):
    """Mesh and slice of a map, which follow it by themselves and are cut to what was seen."""

    model: ISDFModel
    name, unit = "Map", " (m)"
    slice_shown, slice_height = True, 0.2
    _frames: MapFrames

    def __init__(self, model: ISDFModel, manager: StreamDataManager) -> None:
        super().__init__(model)
        self.manager = manager
        self._mesh_refresh = Refresh()

    def _setup(self, viewer: Viewer) -> None:
        if viewer.config.camera_frustum_scale == ViewerConfig().camera_frustum_scale:
            viewer.config.camera_frustum_scale = _FRUSTUM_SCALE
        panel = viewer.control_panel
        panel._layer_depth.value = False  # the mesh lies on the render's surface: they would hide each other
        if self.model.device.type == "cpu":
            panel._max_res.value = _CPU_RENDER_PIXELS
        super()._setup(viewer)

    def _start(self) -> None:
        self._frames = MapFrames(self.viewer, self.manager)
        super()._start()

    def _add_mesh_controls(self, gui: Any) -> None:
        gui.add_button("Refresh mesh").on_click(lambda _: self._ask(self._mesh_refresh))

    def update(self) -> None:
        self._frames.update()
        super().update()

    def _refresh(self, step: int) -> None:
        super()._refresh(step)
        if self._show_mesh.value and self._mesh_refresh.due(step):
            with self._mesh_refresh.made(step):
                self._draw_mesh()

    def _copies(self) -> tuple[SDFField, SeenCells]:
        """Copies of the folded field and of what was seen, taken between two training steps."""
        with self._lock():
            return self.model.field.folded(), copy.deepcopy(self.model.seen)

    def _draw_mesh(self) -> None:
        field, seen = self._copies()
        vertices, faces = distance_mesh(field, _MESH_CELLS, seen=seen, progress=False)
        if len(faces) == 0:
            return
        self._mesh = self.viser_server.scene.add_mesh_simple(
            self._node("mesh"),
            vertices=(vertices * self._scale).astype(np.float32),
            faces=faces.astype(np.uint32),
            color=_MESH_COLOR,
            flat_shading=True,
            visible=self._show_mesh.value,
        )

    def _slice_colors(self, points: Tensor) -> np.ndarray:
        field, seen = self._copies()
        distances = field.evaluate(points).cpu().numpy()
        known = seen.is_open(points.view(-1, 3)).view(points.shape[:2]).cpu().numpy()
        return slice_colors(distances, known, _SLICE_METRES)

    def _card_rows(self) -> dict[str, Any]:
        clock = self.manager.clock
        return super()._card_rows() | {
            "frame": f"{len(clock) if clock.ended else clock.current + 1} of {len(clock)}",
            "keyframes": len(clock.keyframes),
            "skipped frames": clock.skipped,
        }
