"""A growing map in nerfstudio's viewer: mesh, slice, keyframes and a card, kept up to date by a thread of their own."""

from __future__ import annotations

import atexit
import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

from eugen_fields.fields.sdf import SDFField
from eugen_fields.models.isdf import ISDFModel
from eugen_fields.sampling.frame_clock import FrameClock
from eugen_fields.sampling.seen_space import SeenSpace
from eugen_fields.training.map_shapes import seen_mesh, slice_colors, slice_points
from eugen_fields.training.stream_data_manager import StreamDataManager

if TYPE_CHECKING:
    import viser
    from nerfstudio.viewer.viewer import Viewer

_MESH_CELLS = 64
_SLICE_PIXELS = 160
_SLICE_SCALE = 1.0
"""Metres at which the colours of the slice end."""
_POLL_SECONDS = 0.5
_SHARE_OF_TIME = 0.1
"""That refreshes take which nobody asked for."""
_FRUSTUM_SCALE = 1.5
"""Viewer units, ten a metre; nerfstudio's own is for scenes of unit size."""
_CPU_RENDER_PIXELS = 164
"""Along the longer side of a render without a GPU; the panel can ask for more."""
_OPENING_ANGLE = math.radians(75.0)
"""Of pages, from top to bottom."""
_ELEVATION = math.radians(50.0)
_MESH_COLOR = (168, 182, 196)
_CURRENT_COLOR = (255, 120, 0)


class Refresh:
    """When something is made again: when it was asked for, and when the map has changed, within a share of the time."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.asked = True
        self._now = now
        self._step: int | None = None
        self._not_before = 0.0

    def due(self, step: int) -> bool:
        return self.asked or (step != self._step and self._now() >= self._not_before)

    @contextlib.contextmanager
    def made(self, step: int) -> Iterator[None]:
        """Around the making; what is asked for during it is made afterwards."""
        self.asked = False
        start = self._now()
        yield
        self._step = step
        self._not_before = self._now() + max(1.0, (self._now() - start) * (1.0 / _SHARE_OF_TIME - 1.0))


class MapView(ViewerControl):
    """As an attribute of a pipeline it is found and set up by nerfstudio's viewer, in ns-train and in ns-viewer.

    The network is folded (and thereby copied) under the lock of training, and evaluated without it.
    """

    def __init__(self, model: ISDFModel, manager: StreamDataManager) -> None:
        self.model = model
        self.manager = manager
        self.mesh_refresh = Refresh()
        self.slice_refresh = Refresh()
        self._came: set[int] = set()
        self._added: set[int] = set()
        self._drawn_keyframes: set[int] = set()
        self._wake = threading.Event()
        self._stopping = False
        self._worker: threading.Thread | None = None

    @property
    def clock(self) -> FrameClock:
        return self.manager.clock

    def frame_done(self, frame: int) -> None:
        """A listener of MappingPipeline."""
        self._came.add(frame)
        self._wake.set()

    def _setup(self, viewer: Viewer) -> None:
        from nerfstudio.configs.base_config import ViewerConfig

        super()._setup(viewer)
        panel = viewer.control_panel
        panel._layer_depth.value = (
            False  # the mesh lies on the render's surface: with depths they would hide each other
        )
        if viewer.config.camera_frustum_scale == ViewerConfig().camera_frustum_scale:
            viewer.config.camera_frustum_scale = _FRUSTUM_SCALE
        if self.model.device.type == "cpu":
            panel._max_res.value = _CPU_RENDER_PIXELS
        self._seen = SeenSpace(self.model.field.aabb, _MESH_CELLS)
        self._add_panel()
        self.viser_server.on_client_connect(self._connected)
        viewer.set_camera_visibility = self._show_keyframes
        add_frusta = viewer.init_scene

        def init_scene(*args: Any, **kwargs: Any) -> None:
            add_frusta(*args, **kwargs)
            self._show_frames()
            self._start()

        viewer.init_scene = init_scene

    def _add_panel(self) -> None:
        gui = self.viser_server.gui
        low, high = (round(float(corner[2]), 2) for corner in self.model.field.aabb)
        with gui.add_folder("Map", order=self.viewer.stats_markdown.order + 0.5):
            self._card = gui.add_markdown(self._card_text())
            self._show_mesh = gui.add_checkbox("Mesh", True)
            button = gui.add_button("Refresh mesh")
            self._show_slice = gui.add_checkbox("Slice", True)
            self._height = gui.add_slider("Slice height (m)", low, high, 0.01, round(low + 0.2 * (high - low), 2))
        button.on_click(lambda _: self._ask(self.mesh_refresh))
        self._show_mesh.on_update(lambda _: self._ask(self.mesh_refresh))
        self._show_slice.on_update(lambda _: self._ask(self.slice_refresh))
        self._height.on_update(lambda _: self._ask(self.slice_refresh))
        self._mesh = self._slice = self._current = None

    def _connected(self, client: viser.ClientHandle) -> None:
        position, target = overlook(self.model.field.aabb.cpu(), self.manager.stream.poses[0])
        with client.atomic():
            client.camera.fov = _OPENING_ANGLE
            client.camera.up_direction = (0.0, 0.0, 1.0)
            client.camera.position = position.double().numpy() * _viewer_scale()
            client.camera.look_at = target.double().numpy() * _viewer_scale()
        self._wake.set()

    def _ask(self, refresh: Refresh) -> None:
        refresh.asked = True
        self._wake.set()

    def _start(self) -> None:
        self._worker = threading.Thread(target=self._work, daemon=True, name="map view")
        self._worker.start()
        atexit.register(self.stop)  # a thread that is in the middle of torch when Python ends would crash it

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._worker is not None:
            self._worker.join(timeout=30)

    def _work(self) -> None:
        while not self._stopping:
            self.update()
            self._wake.wait(_POLL_SECONDS)
            self._wake.clear()

    def update(self) -> None:
        """Brings the page up to date; without a page that is open, only what costs nothing."""
        self._show_frames()
        if self._card.content != (text := self._card_text()):
            self._card.content = text
        if not self.viser_server.get_clients():
            return
        step = self._step()
        if self._mesh is not None:
            self._mesh.visible = self._show_mesh.value
        if self._slice is not None:
            self._slice.visible = self._show_slice.value
        wants_slice = self._show_slice.value and self.slice_refresh.due(step)
        wants_mesh = self._show_mesh.value and self.mesh_refresh.due(step)
        if not (wants_slice or wants_mesh):
            return
        self._look_at_frames()
        with self._lock():
            folded = self.model.field.folded()
        if wants_slice:
            with self.slice_refresh.made(step):
                self._draw_slice(folded)
        if wants_mesh:
            with self.mesh_refresh.made(step):
                self._draw_mesh(folded)

    def _lock(self) -> contextlib.AbstractContextManager[Any]:
        return self.viewer.train_lock or contextlib.nullcontext()

    def _step(self) -> int:
        return self.viewer.trainer.step if self.viewer.trainer is not None else self.viewer.step

    def _look_at_frames(self) -> None:
        """Adds what the frames saw that came since the last time. After a restart these are the keyframes."""
        for frame in sorted((self._came | set(self.clock.known_frames())) - self._added):
            with self._lock():  # streams keep the frames that were read last
                depth = self.manager.stream.depth(frame)
            stream = self.manager.stream
            self._seen.add(depth, stream.intrinsics[frame], stream.poses[frame])
            self._added.add(frame)

    def _draw_mesh(self, field: SDFField) -> None:
        vertices, faces = seen_mesh(field.evaluate, self._seen, self.model.device)
        if len(faces) == 0:
            return
        self._mesh = self.viser_server.scene.add_mesh_simple(
            "/map/mesh",
            vertices=vertices * _viewer_scale(),
            faces=faces.astype(np.uint32),
            color=_MESH_COLOR,
            flat_shading=True,
            visible=self._show_mesh.value,
        )

    def _draw_slice(self, field: SDFField) -> None:
        aabb = self.model.field.aabb.cpu()
        points = slice_points(aabb, self._height.value, _SLICE_PIXELS)
        distances = field.evaluate(points.to(self.model.device)).cpu().numpy()
        places = self._seen.nearest(points.view(-1, 3))
        known = self._seen.widened()[tuple(places.T)].view(points.shape[:2]).numpy()
        scale = _viewer_scale()
        extent = (aabb[1] - aabb[0]) * scale
        middle = aabb.mean(dim=0)
        middle[2] = self._height.value
        self._slice = self.viser_server.scene.add_image(
            "/map/slice",
            slice_colors(distances, known, _SLICE_SCALE),
            render_width=float(extent[0]),
            render_height=float(extent[1]),
            format="png",
            position=tuple((middle * scale).tolist()),
            visible=self._show_slice.value,
        )

    def _show_frames(self) -> None:
        """The frusta of the keyframes so far, and one that moves along with the current frame."""
        if set(self.clock.keyframes) != self._drawn_keyframes:
            self._drawn_keyframes = set(self.clock.keyframes)
            for frame in self._drawn_keyframes - self.viewer.camera_handles.keys():  # nerfstudio draws only some
                self.viewer.camera_handles[frame] = self._add_frustum(f"/cameras/camera_{frame:05d}", frame)
            self._show_keyframes(self.viewer.hide_images.visible)
        frame = self.clock.current
        if frame < 0:
            return
        if self._current is None:
            self._current = self._add_frustum("/map/current_frame", frame, color=_CURRENT_COLOR)
        wxyz, position = self._frustum_pose(frame)
        self._current.wxyz, self._current.position = wxyz, position
        self._current.visible = not self.clock.ended

    def _show_keyframes(self, visible: bool) -> None:
        """What the buttons "Hide Train Cams" and "Show Train Cams" do."""
        for frame, handle in self.viewer.camera_handles.items():
            handle.visible = visible and frame in self._drawn_keyframes

    def _frustum_pose(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Quaternion w, x, y, z and position, in the viewer's units and axes."""
        import viser.transforms as vtf

        pose = self.manager.stream.poses[frame].double().numpy()
        # viser's cameras look along +z with y down, nerfstudio's along -z with y up
        rotation = vtf.SO3.from_matrix(pose[:3, :3]) @ vtf.SO3.from_x_radians(np.pi)
        return rotation.wxyz, pose[:3, 3] * _viewer_scale()

    def _add_frustum(self, name: str, frame: int, **options: Any) -> Any:
        wxyz, position = self._frustum_pose(frame)
        stream = self.manager.stream
        return self.viser_server.scene.add_camera_frustum(
            name,
            fov=float(2.0 * np.arctan(0.5 * stream.height / float(stream.intrinsics[frame, 1]))),
            aspect=stream.width / stream.height,
            scale=self.viewer.config.camera_frustum_scale,
            wxyz=wxyz,
            position=position,
            **options,
        )

    def _card_text(self) -> str:
        """Layer, sizes and where the stream is, as markdown."""
        field, clock = self.model.field, self.clock
        if not hasattr(self, "_multiplications"):
            self._multiplications = field.folded().trunk.multiplications()  # type: ignore[operator]
        rows = {
            "layer": self.model.config.layer,
            "parameters": f"{sum(weights.numel() for weights in field.parameters()):,}",
            "multiplications a point": f"{self._multiplications:,}",
            "frame": f"{len(clock) if clock.ended else clock.current + 1} of {len(clock)}",
            "keyframes": len(clock.keyframes),
            "skipped frames": clock.skipped,
            "step": self._step(),
        }
        return "  \n".join(f"**{name}** {value}" for name, value in rows.items())


def overlook(aabb: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Where a page opens: above the box, on the side that a camera has behind it, with the whole box in view.

    Args:
        aabb: the box, shape (2, 3), z up.
        pose: the camera's, to the world, OpenGL axes, shape (4, 4).

    Returns:
        a position and what is looked at, each (3,).
    """
    middle = aabb.mean(dim=0)
    backward = F.normalize(torch.cat([pose[:2, 2], pose.new_zeros(1)]), dim=0)
    distance = 0.5 * (aabb[1] - aabb[0]).norm() / math.sin(0.5 * _OPENING_ANGLE)
    toward = math.cos(_ELEVATION) * backward
    toward[2] = math.sin(_ELEVATION)
    return middle + distance * toward, middle


def _viewer_scale() -> float:
    from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

    return VISER_NERFSTUDIO_SCALE_RATIO
