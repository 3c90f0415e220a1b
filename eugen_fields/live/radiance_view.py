"""A field of density and colour in nerfstudio's viewer: a card, a mesh on demand and a slice through the densities."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from torch import Tensor

from eugen_fields.errors import describe
from eugen_fields.live.field_view import FieldView
from eugen_fields.live.slices import density_colors
from eugen_fields.live.snapshot import snapshot
from eugen_fields.meshing.build import NoSurface, build_mesh
from eugen_fields.meshing.extraction.surface import evaluate_density
from eugen_fields.meshing.files import encode_glb
from eugen_fields.models.radiance import RadianceModel

_RESOLUTIONS = ("64", "128", "256", "384")
_OPAQUE_STEP = 5.0
"""Optical depth per step from which on the slice's colour stays the same: less than 1 % of light passes."""
_REPORT_SECONDS = 0.2
"""Shortest time between two reports of progress."""


class RadianceView(FieldView):
    """Card, mesh and slice of a field of density and colour. The mesh is that of eugen-export, extracted in a thread of
    its own while training goes on."""

    model: RadianceModel
    name = "Field"
    slice_shown, slice_height = False, 0.5

    def __init__(self, model: RadianceModel) -> None:
        super().__init__(model)
        self._extracting = threading.Lock()
        self._covered = False
        self._reported = 0.0

    def _add_mesh_controls(self, gui: Any) -> None:
        self._resolution = gui.add_dropdown("Mesh resolution", _RESOLUTIONS, initial_value="128")
        self._button = gui.add_button("Extract mesh")
        self._progress = gui.add_progress_bar(0.0, visible=False)
        self._status = gui.add_markdown("")
        self._button.on_click(lambda _: self.extract())

    def extract(self) -> None:
        """Starts to extract a mesh of the current field, unless one is being extracted."""
        if self._extracting.acquire(blocking=False):
            self._extractor = threading.Thread(target=self._extract, daemon=True, name="field mesh")
            self._extractor.start()

    def _extract(self) -> None:
        self._button.disabled = True
        try:
            self._status.content = self._make_mesh()
        except _Stopped:
            pass
        except Exception as error:  # whatever it is, training and the page go on
            self._status.content = f"**No mesh.** {describe(error)}"
        finally:
            self._progress.visible = self._button.disabled = False
            self._extracting.release()

    def _make_mesh(self) -> str:
        """Puts the mesh into the scene; returns a sentence about the result."""
        start, resolution = time.perf_counter(), int(self._resolution.value)
        self._report("Copying the weights", 0.0)
        run = snapshot(self.model, self.viewer.log_filename.parent, self._step, self._lock(), self._report)
        try:
            mesh, _ = build_mesh(run, progress=self._report, resolution=resolution, frame="training")
        except NoSurface as none:
            low, high = none.span
            return (
                f"**No mesh.** Nothing is opaque at step {run.step:,} yet; densities span {low:.3g} to {high:.3g}. "
                "Train longer, then try again."
            )
        self._mesh = self.viser_server.scene.add_glb(self._node("mesh"), encode_glb(mesh), scale=self._scale)
        self._show_mesh.value = True
        self._show_or_hide()
        seconds = time.perf_counter() - start
        return (
            f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces of step {run.step:,}, made in {seconds:.1f} s"
        )

    def _report(self, what: str, share: float) -> None:
        """Shows on the page how far the mesh is. Raises _Stopped where the program ends."""
        if self._stopping:
            raise _Stopped
        if share == 0.0 or time.monotonic() - self._reported > _REPORT_SECONDS:
            self._reported = time.monotonic()
            self._status.content, self._progress.value = f"{what} ...", 100.0 * min(share, 1.0)
            self._progress.visible = True

    def _stop(self) -> None:
        super()._stop()
        if self._extracting.locked():
            self._extractor.join(timeout=30)

    def _show_or_hide(self) -> None:
        super()._show_or_hide()
        covered = any(node is not None and node.visible for node in (self._mesh, self._slice))
        if covered != self._covered:
            self._covered = covered
            # the mesh lies on the render's surface, and slices behind it: it would hide them
            composite = self.viewer.config.default_composite_depth and not covered
            self.viewer.control_panel._layer_depth.value = composite

    def _slice_colors(self, points: Tensor) -> np.ndarray:
        with self._lock():
            field = self.model.field.folded()
        density = evaluate_density(field, points.view(-1, 3))
        if self.model.grid is not None:
            density = density * self.model.grid.allowed_at(points.view(-1, 3))
        density = density.view(points.shape[:2])
        config = self.model.config
        step_size = config.step_size(self._aabb)
        return density_colors(density, config.grid_min_opacity / step_size, _OPAQUE_STEP / step_size)


class _Stopped(Exception):
    """Raised in the thread of the mesh where the program ends."""
