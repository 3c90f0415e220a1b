"""What nerfstudio's viewer shows of a field in training beside its render: a card, a mesh and a slice."""

from __future__ import annotations

import atexit
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

from eugen_fields.errors import describe
from eugen_fields.live.refresh import Refresh
from eugen_fields.live.slices import slice_points
from eugen_fields.models.isdf import ISDFModel
from eugen_fields.models.radiance import RadianceModel
from eugen_fields.models.summary import network_summary

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

_SLICE_PIXELS = 160
_HEIGHT_STEP = 0.01
_POLL_SECONDS = 0.5


class FieldView(ViewerControl):
    """A section of nerfstudio's page. The viewer of ns-train and ns-viewer finds and sets it up as an attribute
    of the pipeline.

    A thread of its own keeps the page up to date. The network is folded, and thereby copied, under the lock of
    training, and evaluated without it. Subclasses make the mesh, and say what colours the slice has.
    """

    name: str
    """Title of the panel section; in lower case, the scene path."""
    unit = ""
    """Unit of lengths in labels, with a leading space and in brackets; empty: none."""
    slice_shown: bool
    """Whether the slice is shown when the page opens."""
    slice_height: float
    """Height of the slice in the scene box when the page opens, between 0 and 1."""

    def __init__(self, model: RadianceModel | ISDFModel) -> None:
        self.model = model
        self._slice_refresh = Refresh()
        self._mesh: Any = None
        self._slice: Any = None
        self._wake = threading.Event()
        self._stopping = False

    def _setup(self, viewer: Viewer) -> None:
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        super()._setup(viewer)
        self._scale = VISER_NERFSTUDIO_SCALE_RATIO
        self._aabb = self.model.field.aabb.float().cpu()
        self._describe()
        with viewer.viser_server.gui.add_folder(self.name, order=viewer.stats_markdown.order + 0.5):
            self._add_controls(viewer.viser_server.gui)
        viewer.viser_server.on_client_connect(lambda _: self._wake.set())
        add_frusta = viewer.init_scene

        def init_scene(*args: Any, **kwargs: Any) -> None:
            add_frusta(*args, **kwargs)
            self._start()

        viewer.init_scene = init_scene

    def _add_controls(self, gui: Any) -> None:
        low, high = (round(float(corner[2]), 2) for corner in self._aabb)
        start = round(low + self.slice_height * (high - low), 2)
        self._card = gui.add_markdown(self._card_text())
        self._show_mesh = gui.add_checkbox("Mesh", True)
        self._add_mesh_controls(gui)
        self._show_slice = gui.add_checkbox("Slice", self.slice_shown)
        self._height = gui.add_slider(f"Slice height{self.unit}", low, high, _HEIGHT_STEP, start)
        self._error = gui.add_markdown("")
        for box in (self._show_mesh, self._show_slice):
            box.on_update(lambda _: self._show_or_hide())
            box.on_update(lambda _: self._wake.set())
        self._height.on_update(lambda _: self._ask(self._slice_refresh))

    def _add_mesh_controls(self, gui: Any) -> None:
        raise NotImplementedError

    def _ask(self, refresh: Refresh) -> None:
        refresh.asked = True
        self._wake.set()

    def _show_or_hide(self) -> None:
        """Applies the check boxes at once: a thread may be in the middle of a mesh."""
        for node, box in ((self._mesh, self._show_mesh), (self._slice, self._show_slice)):
            if node is not None and node.visible != box.value:
                node.visible = box.value

    def _start(self) -> None:
        """Starts the thread that keeps the page up to date, once nerfstudio has drawn its frusta."""
        self._worker = threading.Thread(target=self._work, daemon=True, name=f"{self.name} view")
        self._worker.start()
        atexit.register(self._stop)

    def _work(self) -> None:
        while not self._stopping:
            try:
                self.update()
                error = ""
            except Exception as raised:  # whatever it is, training and the page go on
                error = f"**Error** {describe(raised)}"
            if self._error.content != error:
                self._error.content = error
            self._wake.wait(_POLL_SECONDS)
            self._wake.clear()

    def _stop(self) -> None:
        """Ends the thread before Python ends: a thread in the middle of torch would crash it."""
        self._stopping = True
        self._wake.set()
        self._worker.join(timeout=30)

    def update(self) -> None:
        """Brings the page up to date; where no browser is connected, only what costs nothing."""
        text = self._card_text()
        if self._card.content != text:
            self._card.content = text
        if self.viser_server.get_clients():
            self._show_or_hide()
            self._refresh(self._step())

    def _refresh(self, step: int) -> None:
        """Draws again what is due at a step."""
        if self._show_slice.value and self._slice_refresh.due(step):
            with self._slice_refresh.made(step):
                self._draw_slice()

    def _lock(self) -> contextlib.AbstractContextManager[Any]:
        return self.viewer.train_lock or contextlib.nullcontext()

    def _step(self) -> int:
        return self.viewer.trainer.step if self.viewer.trainer is not None else self.viewer.step

    def _node(self, name: str) -> str:
        """Path of a scene node with this name."""
        return f"/{self.name.lower()}/{name}"

    def _draw_slice(self) -> None:
        height = float(self._height.value)
        points = slice_points(self._aabb, height, _SLICE_PIXELS)
        pixels = self._slice_colors(points.to(self.model.device))
        x, y, _ = self._aabb.mean(dim=0).tolist()
        width, depth, _ = (self._aabb[1] - self._aabb[0]).tolist()
        self._slice = self.viser_server.scene.add_image(
            self._node("slice"),
            pixels,
            render_width=width * self._scale,
            render_height=depth * self._scale,
            format="png",
            position=(x * self._scale, y * self._scale, height * self._scale),
            visible=self._show_slice.value,
        )

    def _slice_colors(self, points: Tensor) -> np.ndarray:
        """Colours of the current field at points (H, W, 3): RGBA, uint8 (H, W, 4)."""
        raise NotImplementedError

    def _card_text(self) -> str:
        """Layer kind, sizes and training step, as markdown."""
        return "  \n".join(f"**{name}** {value}" for name, value in self._card_rows().items())

    def _describe(self) -> None:
        """Takes note of what the networks are, between two training steps."""
        with self._lock():
            self._described = self.model.field.trunk
            self._facts = network_summary(self.model.config, self.model.networks())

    def _card_rows(self) -> dict[str, Any]:
        if self.model.field.trunk is not self._described:  # its layers are of another kind since
            self._describe()
        return self._facts | {"step": f"{self._step():,}"}
