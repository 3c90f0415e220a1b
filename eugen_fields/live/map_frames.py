"""The frames of a stream in nerfstudio's viewer: the keyframes so far, and the current one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from eugen_fields.mapping.stream_data_manager import StreamDataManager

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

_CURRENT_COLOR = (255, 120, 0)


class MapFrames:
    """Shows the keyframes among nerfstudio's frusta, and a frustum that moves along with the current frame.

    Args:
        viewer: nerfstudio's viewer, after it has drawn its frusta.
        manager: the data manager with the stream and its clock.
    """

    def __init__(self, viewer: Viewer, manager: StreamDataManager) -> None:
        self.viewer = viewer
        self.manager = manager
        self._keyframes: set[int] = set()
        self._current: Any = None
        viewer.set_camera_visibility = self.show_keyframes
        self.show_keyframes(True)

    def update(self) -> None:
        """Shows the keyframes and the current frame that the clock has now."""
        clock, handles = self.manager.clock, self.viewer.camera_handles
        if set(clock.keyframes) != self._keyframes:
            self._keyframes = set(clock.keyframes)
            for frame in self._keyframes - handles.keys():  # of a long stream nerfstudio draws only some
                handles[frame] = self._add(f"/cameras/camera_{frame:05d}", frame)
            self.show_keyframes(self.viewer.hide_images.visible)
        if clock.current < 0:
            return
        if self._current is None:
            self._current = self._add("/map/current_frame", clock.current, color=_CURRENT_COLOR)
        self._current.wxyz, self._current.position = self._pose(clock.current)
        self._current.visible = not clock.ended

    def show_keyframes(self, visible: bool) -> None:
        """What the buttons "Hide Train Cams" and "Show Train Cams" do."""
        for frame, handle in self.viewer.camera_handles.items():
            handle.visible = visible and frame in self._keyframes

    def _pose(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """Quaternion w, x, y, z and position, in the viewer's axes and units."""
        import viser.transforms as vtf
        from nerfstudio.viewer.viewer import VISER_NERFSTUDIO_SCALE_RATIO

        pose = self.manager.stream.poses[frame].double().numpy()
        # viser's cameras look along +z with y down, nerfstudio's along -z with y up
        rotation = vtf.SO3.from_matrix(pose[:3, :3]) @ vtf.SO3.from_x_radians(np.pi)
        return rotation.wxyz, pose[:3, 3] * VISER_NERFSTUDIO_SCALE_RATIO

    def _add(self, name: str, frame: int, **options: Any) -> Any:
        wxyz, position = self._pose(frame)
        stream = self.manager.stream
        return self.viewer.viser_server.scene.add_camera_frustum(
            name,
            fov=float(2.0 * np.arctan(0.5 * stream.height / float(stream.intrinsics[frame, 1]))),
            aspect=stream.width / stream.height,
            scale=self.viewer.config.camera_frustum_scale,
            wxyz=wxyz,
            position=position,
            **options,
        )
