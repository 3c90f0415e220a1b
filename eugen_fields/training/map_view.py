"""A growing map in nerfstudio's viewer: mesh, slice, frames and a card, kept up to date by a thread of their own."""

from __future__ import annotations

import atexit
import contextlib
import copy
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from nerfstudio.viewer.viewer_elements import ViewerControl

from eugen_fields.fields.sdf import SDFField
from eugen_fields.models.isdf import ISDFModel
from eugen_fields.sampling import SeenCells
from eugen_fields.training.map_frames import MapFrames
from eugen_fields.training.map_slice import slice_colors, slice_points
from eugen_fields.training.stream_data_manager import StreamDataManager

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

_MESH_CELLS = 64
_MESH_COLOR = (168, 182, 196)
_SLICE_PIXELS = 160
_SLICE_METRES = 1.0
"""Distance at which its colours end."""
_POLL_SECONDS = 0.5
_SHARE_OF_TIME = 0.1
"""That refreshes take which nobody asked for."""
_FRUSTUM_SCALE = 1.5
"""Viewer units, ten a metre; nerfstudio's own is for scenes of unit size."""
_CPU_RENDER_PIXELS = 164
"""Along the longer side of a render without a GPU; the panel can ask for more."""


class Refresh:
    """When something is made again: when it was asked for, and when the map has changed, within a share of the time."""

    def __init__(self, now: Callable[[], float] = time.monotonic, busy: Callable[[], float] = time.thread_time) -> None:
        self.asked = True
        self._now = now
        self._busy = busy  # waiting for the lock of training costs nothing
        self._step: int | None = None
        self._not_before = 0.0

    def due(self, step: int) -> bool:
        return self.asked or (step != self._step and self._now() >= self._not_before)

    @contextlib.contextmanager
    def made(self, step: int) -> Iterator[None]:
        """Around the making; what is asked for meanwhile is made afterwards."""
        self.asked = False
        start = self._busy()
        yield
        self._step = step
        self._not_before = self._now() + max(1.0, (self._busy() - start) * (1.0 / _SHARE_OF_TIME - 1.0))


class MapView(ViewerControl):
    """As an attribute of a pipeline it is found and set up by nerfstudio's viewer, in ns-train and in ns-viewer.

    The network is folded, and thereby copied, under the lock of training, and evaluated without it.
    """

    _frames: MapFrames

    def __init__(self, model: ISDFModel, manager: StreamDataManager) -> None:
        self.model = model
        self.manager = manager
        self._mesh_refresh, self._slice_refresh = Refresh(), Refresh()
        self._mesh: Any = None
        self._slice: Any = None
        self._wake = threading.Event()
        self._stopping = False

    def _setup(self, viewer: Viewer) -> None:
        from nerfstudio.configs.base_config import ViewerConfig
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        super()._setup(viewer)
        self._scale = VISER_NERFSTUDIO_SCALE_RATIO
        if viewer.config.camera_frustum_scale == ViewerConfig().camera_frustum_scale:
            viewer.config.camera_frustum_scale = _FRUSTUM_SCALE
        panel = viewer.control_panel
        panel._layer_depth.value = False  # the mesh lies on the render's surface: they would hide each other
        if self.model.device.type == "cpu":
            panel._max_res.value = _CPU_RENDER_PIXELS
        self._aabb = self.model.field.aabb.float().cpu()
        self._size = {
            "layer": self.model.config.layer,
            "parameters": f"{sum(weights.numel() for weights in self.model.field.parameters()):,}",
            "multiplications a point": f"{self.model.field.folded().trunk.multiplications():,}",  # type: ignore[operator]
        }
        self._add_panel()
        viewer.viser_server.on_client_connect(lambda _: self._wake.set())
        add_frusta = viewer.init_scene

        def init_scene(*args: Any, **kwargs: Any) -> None:
            add_frusta(*args, **kwargs)
            self._frames = MapFrames(viewer, self.manager)
            worker = threading.Thread(target=self._work, daemon=True, name="map view")
            worker.start()
            atexit.register(self._stop, worker)

        viewer.init_scene = init_scene

    def _add_panel(self) -> None:
        gui = self.viser_server.gui
        low, high = (round(float(corner[2]), 2) for corner in self._aabb)
        with gui.add_folder("Map", order=self.viewer.stats_markdown.order + 0.5):
            self._card = gui.add_markdown(self._card_text())
            self._show_mesh = gui.add_checkbox("Mesh", True)
            button = gui.add_button("Refresh mesh")
            self._show_slice = gui.add_checkbox("Slice", True)
            self._height = gui.add_slider("Slice height (m)", low, high, 0.01, round(low + 0.2 * (high - low), 2))
        button.on_click(lambda _: self._ask(self._mesh_refresh))
        for box in (self._show_mesh, self._show_slice):
            box.on_update(lambda _: self._show_or_hide())
            box.on_update(lambda _: self._wake.set())
        self._height.on_update(lambda _: self._ask(self._slice_refresh))

    def _ask(self, refresh: Refresh) -> None:
        refresh.asked = True
        self._wake.set()

    def _show_or_hide(self) -> None:
        """What the boxes say, at once: the worker may be in the middle of a mesh."""
        for node, box in ((self._mesh, self._show_mesh), (self._slice, self._show_slice)):
            if node is not None and node.visible != box.value:
                node.visible = box.value

    def _work(self) -> None:
        while not self._stopping:
            self.update()
            self._wake.wait(_POLL_SECONDS)
            self._wake.clear()

    def _stop(self, worker: threading.Thread) -> None:
        """Before Python ends: a thread in the middle of torch would crash it."""
        self._stopping = True
        self._wake.set()
        worker.join(timeout=30)

    def update(self) -> None:
        """Brings the page up to date; where none is open, only what costs nothing."""
        self._frames.update()
        text = self._card_text()
        if self._card.content != text:
            self._card.content = text
        if not self.viser_server.get_clients():
            return
        self._show_or_hide()
        step = self._step()
        if self._show_slice.value and self._slice_refresh.due(step):
            with self._slice_refresh.made(step):
                self._draw_slice()
        if self._show_mesh.value and self._mesh_refresh.due(step):
            with self._mesh_refresh.made(step):
                self._draw_mesh()

    def _lock(self) -> contextlib.AbstractContextManager[Any]:
        return self.viewer.train_lock or contextlib.nullcontext()

    def _step(self) -> int:
        return self.viewer.trainer.step if self.viewer.trainer is not None else self.viewer.step

    def _copies(self) -> tuple[SDFField, SeenCells]:
        """The folded field and what was seen, as they are between two steps of training."""
        with self._lock():
            return self.model.field.folded(), copy.deepcopy(self.model.seen)

    def _draw_mesh(self) -> None:
        from eugen_fields.meshing.distance import distance_mesh

        field, seen = self._copies()
        vertices, faces = distance_mesh(field, _MESH_CELLS, seen=seen, progress=False)
        if len(faces) == 0:
            return
        self._mesh = self.viser_server.scene.add_mesh_simple(
            "/map/mesh",
            vertices=(vertices * self._scale).astype(np.float32),
            faces=faces.astype(np.uint32),
            color=_MESH_COLOR,
            flat_shading=True,
            visible=self._show_mesh.value,
        )

    def _draw_slice(self) -> None:
        field, seen = self._copies()
        height = float(self._height.value)
        points = slice_points(self._aabb, height, _SLICE_PIXELS)
        points = points.to(self.model.device)
        distances = field.evaluate(points).cpu().numpy()
        known = seen.is_open(points.view(-1, 3)).view(points.shape[:2]).cpu().numpy()
        x, y, _ = self._aabb.mean(dim=0).tolist()
        width, depth, _ = (self._aabb[1] - self._aabb[0]).tolist()
        self._slice = self.viser_server.scene.add_image(
            "/map/slice",
            slice_colors(distances, known, _SLICE_METRES),
            render_width=width * self._scale,
            render_height=depth * self._scale,
            format="png",
            position=(x * self._scale, y * self._scale, height * self._scale),
            visible=self._show_slice.value,
        )

    def _card_text(self) -> str:
        """Layer, sizes and where the stream is, as markdown."""
        clock = self.manager.clock
        rows = self._size | {
            "frame": f"{len(clock) if clock.ended else clock.current + 1} of {len(clock)}",
            "keyframes": len(clock.keyframes),
            "skipped frames": clock.skipped,
            "step": self._step(),
        }
        return "  \n".join(f"**{name}** {value}" for name, value in rows.items())
