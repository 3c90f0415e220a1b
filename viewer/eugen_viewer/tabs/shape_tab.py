"""Controls of the shape: a mesh extracted on demand, a crop box, and a slice through signed distances."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import torch

from eugen_fields.runs import SDFRun
from eugen_viewer.opened import Shown, scene_from_view
from eugen_viewer.pictures.sdf_slice import sdf_slice
from eugen_viewer.stage import Stage
from eugen_viewer.start import Box

if TYPE_CHECKING:
    import trimesh

_MESH, _SLICE = "/mesh", "/slice"


class ShapeTab:
    """Mesh, crop box and slice of one browser."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        gui, shown = stage.client.gui, stage.shown()
        names = ("left", "right")[: len(shown)]
        self.aabb = shown[0].run.aabb.numpy().astype(np.float64)
        with gui.add_folder("Mesh"):
            self.side = gui.add_dropdown("Run", names, visible=len(names) > 1)
            self.resolution = gui.add_slider(
                "Resolution", 32, 384, 16, 128, hint="Cells along the longest side of the scene box"
            )
            self.extract = gui.add_button("Extract mesh", hint="Uses the weights that are shown now; rendering goes on")
            self.show_mesh = gui.add_checkbox("Show mesh", True, visible=False)
            self.mesh_counts = gui.add_markdown("", visible=False)
        self.extract.on_click(lambda _: self._extract())
        self.show_mesh.on_update(lambda _: self._show_mesh())
        self._mesh_handle = None
        with gui.add_folder("Crop box"):
            self.crop = gui.add_checkbox("Crop", False, hint="Render only what is inside the box")
            self.sides = []
            for axis, name in enumerate("xyz"):
                low, high = (round(float(value), 3) for value in self.aabb[:, axis])
                self.sides.append(
                    gui.add_multi_slider(name, low, high, round((high - low) / 200, 4), (low, high), visible=False)
                )
        for handle in (self.crop, *self.sides):
            handle.on_update(lambda _: self._crop())
        if isinstance(shown[0].run, SDFRun):
            with gui.add_folder("Slice"):
                self._add_slice_controls()

    def crop_to(self, box: Box) -> None:
        """Shows what lies inside a box alone: its lower and upper corner."""
        for side, low, high in zip(self.sides, *box):
            side.value = (low, high)
        self.crop.value = True
        self._crop()

    def _crop(self) -> None:
        cropped = bool(self.crop.value)
        for side in self.sides:
            side.visible = cropped
        low, high = zip(*((float(side.value[0]), float(side.value[1])) for side in self.sides))
        self.stage.change(crop=(low, high) if cropped else None)

    def _extract(self) -> None:
        """Extracts the mesh in a thread of its own, as marching cubes cannot be divided into steps."""
        shown = self.stage.shown()[("left", "right").index(self.side.value)]
        self.extract.disabled = True
        threading.Thread(target=self._extract_mesh, args=(shown,), daemon=True, name="eugen-view mesh").start()

    def _extract_mesh(self, shown: Shown) -> None:
        from eugen_fields.meshing.build import build_mesh

        try:
            mesh, _ = build_mesh(shown.run, resolution=int(self.resolution.value), frame="training", progress=False)
            first = self.stage.shown()[0].run
            mesh.apply_transform(torch.linalg.inv(scene_from_view(first, shown.run).double()).numpy())
            self._put(mesh)
            self.mesh_counts.content = f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} triangles"
            self.mesh_counts.visible = self.show_mesh.visible = True
            self.show_mesh.value = True
            self._show_mesh()
        except Exception as error:
            self.stage.fail("The mesh could not be extracted", error)
        finally:
            self.extract.disabled = False

    def _put(self, mesh: trimesh.Trimesh) -> None:
        scene = self.stage.client.scene
        if mesh.visual.kind == "vertex":  # type: ignore[union-attr]
            from eugen_fields.meshing.files import encode_glb

            self._mesh_handle = scene.add_glb(_MESH, encode_glb(mesh))  # viser would light its colours as metal
        else:
            self._mesh_handle = scene.add_mesh_simple(
                _MESH, np.asarray(mesh.vertices), np.asarray(mesh.faces), color=(200, 195, 185), side="double"
            )

    def _show_mesh(self) -> None:
        if self._mesh_handle is not None:
            self._overlay("mesh", bool(self.show_mesh.value))
            self._mesh_handle.visible = bool(self.show_mesh.value)

    def _overlay(self, name: str, shown: bool) -> None:
        (self.stage.overlays.add if shown else self.stage.overlays.discard)(name)
        self.stage.live.wake()

    def _add_slice_controls(self) -> None:
        gui = self.stage.client.gui
        low, high = (round(float(value), 3) for value in self.aabb[:, 2])
        self.slice = gui.add_checkbox(
            "Show slice", False, hint="Signed distance: blue in free space, red behind surfaces, black at the surface"
        )
        self.slice_height = gui.add_slider("Height (m)", low, high, 0.01, round((low + high) / 2, 2))
        self._slice_handle = None
        for handle in (self.slice, self.slice_height):
            handle.on_update(lambda _: self._slice())

    def _slice(self) -> None:
        shown = bool(self.slice.value)
        if shown:
            run = self.stage.shown()[0].run
            assert isinstance(run, SDFRun)
            height = float(self.slice_height.value)
            image = sdf_slice(run, height)
            middle, size = self.aabb.mean(axis=0), self.aabb[1] - self.aabb[0]
            self._slice_handle = self.stage.client.scene.add_image(
                _SLICE, image, float(size[0]), float(size[1]), position=(middle[0], middle[1], height)
            )
        elif self._slice_handle is not None:
            self._slice_handle.visible = False
        self._overlay("slice", shown)
