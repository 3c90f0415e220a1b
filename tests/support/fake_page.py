"""Stands in for nerfstudio's viewer and the page that it serves."""

from __future__ import annotations

import contextlib
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import trimesh


class Handle(SimpleNamespace):
    """Of anything in the page."""

    def on_update(self, callback: Any) -> None:
        self.callback = callback

    on_click = on_update


class Page:
    """In place of viser's server: keeps what it is asked to show, by kind."""

    def __init__(self) -> None:
        self.shown: dict[str, Handle] = {}
        self.clients: dict[int, Any] = {}
        self.gui = self.scene = self

    def add_folder(self, label: str, order: float) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def add_markdown(self, content: str) -> Handle:
        return self._show("text" if "card" in self.shown else "card", content=content)

    def add_checkbox(self, label: str, value: bool) -> Handle:
        return self._show(label, value=value)

    def add_button(self, label: str) -> Handle:
        return self._show(label)

    def add_slider(self, label: str, low: float, high: float, step: float, value: float) -> Handle:
        return self._show(label, value=value)

    def add_dropdown(self, label: str, options: tuple[str, ...], initial_value: str) -> Handle:
        return self._show(label, value=initial_value)

    def add_progress_bar(self, value: float, visible: bool) -> Handle:
        return self._show("progress", value=value, visible=visible)

    def add_glb(self, name: str, glb_data: bytes, scale: float) -> Handle:
        scene = trimesh.load_scene(io.BytesIO(glb_data), file_type="glb", process=False)
        (mesh,) = scene.geometry.values()
        return self._show(name, mesh=mesh, scale=scale, visible=True)

    def add_mesh_simple(self, name: str, **values: Any) -> Handle:
        return self._show(name, **values)

    def add_camera_frustum(self, name: str, **values: Any) -> Handle:
        return self._show(name, visible=True, **values)

    def add_image(self, name: str, image: np.ndarray, **values: Any) -> Handle:
        return self._show(name, image=image, **values)

    def _show(self, name: str, **values: Any) -> Handle:
        self.shown[name] = Handle(**values)
        return self.shown[name]

    def on_client_connect(self, callback: Any) -> None:
        pass

    def get_clients(self) -> dict[int, Any]:
        return self.clients


def make_viewer(page: Page, drawn: range = range(8)) -> Any:
    """nerfstudio's, with stock frusta of some frames."""
    return SimpleNamespace(
        viser_server=page,
        config=SimpleNamespace(camera_frustum_scale=0.1, default_composite_depth=True),
        control_panel=SimpleNamespace(_layer_depth=Handle(value=True), _max_res=Handle(value=512)),
        stats_markdown=SimpleNamespace(order=3.0),
        hide_images=SimpleNamespace(visible=True),
        camera_handles={frame: Handle(visible=True) for frame in drawn},
        trainer=SimpleNamespace(step=70),
        train_lock=None,
        init_scene=lambda: None,
    )
