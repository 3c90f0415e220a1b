"""How nerfstudio's viewer starts: where a new client sees the scene (at a training camera, or above a map), and with
frames that a CPU can render while it trains."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

if TYPE_CHECKING:
    import viser
    from nerfstudio.viewer.viewer import Viewer

_OPENING_ANGLE = math.radians(75.0)
"""Vertical field of view of pages that open above a map."""
_ELEVATION = math.radians(50.0)


class StartAtTrainingPose(ViewerControl):
    """As an attribute of a model it is found and set up by nerfstudio's viewer, in ns-train and in ns-viewer.

    The frustum of that camera is hidden: its photo would stand right in front of the client and hide the render.
    """

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        viewer.viser_server.on_client_connect(self._place)
        add_frusta = viewer.init_scene

        def init_scene(*args: Any, **kwargs: Any) -> None:
            add_frusta(*args, **kwargs)
            if 0 in viewer.camera_handles:
                viewer.camera_handles[0].visible = False

        viewer.init_scene = init_scene

    def _place(self, client: viser.ClientHandle) -> None:
        import viser.transforms as vtf
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        cameras = self.viewer.pipeline.datamanager.train_dataset.cameras  # type: ignore[union-attr]
        pose = cameras.camera_to_worlds[0].cpu().numpy().astype(np.float64)
        # viser's cameras look along +z with y down, nerfstudio's along -z with y up
        rotation = vtf.SO3.from_matrix(pose[:, :3]) @ vtf.SO3.from_x_radians(np.pi)
        with client.atomic():
            client.camera.wxyz = rotation.wxyz
            client.camera.position = pose[:, 3] * VISER_NERFSTUDIO_SCALE_RATIO
            client.camera.fov = float(2.0 * np.arctan(0.5 * int(cameras.height[0]) / float(cameras.fy[0])))


class SmallFramesOnCPU(ViewerControl):
    """As an attribute of a model it asks the viewer for smaller frames, more often, where a CPU trains.

    Training stands still while a frame is rendered, and nerfstudio then trains nine times as long before the next: at
    its 512 pixels, a model that evaluates every ray shows its second frame after minutes. "Max res" of the panel can
    be raised again.

    Args:
        resolution: longest side of a frame, pixels.
        training_share: share of the time spent on training while a browser is connected.
    """

    def __init__(self, resolution: int, training_share: float = 0.8) -> None:
        self.resolution = resolution
        self.training_share = training_share

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        if viewer.trainer is None or torch.device(viewer.pipeline.device).type != "cpu":
            return
        viewer.control_panel._max_res.value = self.resolution
        init_scene = viewer.init_scene

        def init_scene_and_share(*args: Any, **kwargs: Any) -> None:
            init_scene(*args, **kwargs)  # sets nerfstudio's share
            viewer.train_util = self.training_share

        viewer.init_scene = init_scene_and_share


class StartAbove(ViewerControl):
    """Lets pages of maps open above the box with all of it in view, where meshes, seen from behind, do not hide it.

    As an attribute of a model it is found and set up by nerfstudio's viewer.

    Args:
        aabb: the box, shape (2, 3), z up.
    """

    def __init__(self, aabb: Tensor) -> None:
        self.aabb = aabb

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        viewer.viser_server.on_client_connect(self._place)

    def _place(self, client: viser.ClientHandle) -> None:
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        cameras = self.viewer.pipeline.datamanager.train_dataset.cameras  # type: ignore[union-attr]
        position, target = overlook(self.aabb, cameras.camera_to_worlds[0].cpu(), _OPENING_ANGLE)
        with client.atomic():
            client.camera.fov = _OPENING_ANGLE
            client.camera.up_direction = (0.0, 0.0, 1.0)
            client.camera.position = position.double().numpy() * VISER_NERFSTUDIO_SCALE_RATIO
            client.camera.look_at = target.double().numpy() * VISER_NERFSTUDIO_SCALE_RATIO


def overlook(aabb: Tensor, pose: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """A place above a box, on the side that a camera has behind it, that has the whole box in view.

    Args:
        aabb: the box, shape (2, 3), z up.
        pose: camera to world, OpenGL axes, shape (3, 4) or (4, 4).
        angle: vertical field of view, radians.

    Returns:
        the place and what to look at from there, each (3,).
    """
    middle = aabb.mean(dim=0)
    distance = 0.5 * (aabb[1] - aabb[0]).norm() / math.sin(0.5 * angle)
    backward = F.normalize(pose[:2, 2], dim=0)
    toward = torch.cat([math.cos(_ELEVATION) * backward, pose.new_tensor([math.sin(_ELEVATION)])])
    return middle + distance * toward, middle
