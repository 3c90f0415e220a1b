"""The data parser `depth-stream`: posed depth recordings for nerfstudio (`nerfstudio.dataparser_configs`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from PIL import Image

from eugen_fields.data.depth.depth_reading import read_depth_stream
from eugen_fields.data.depth.depth_streams import DepthStream
from eugen_fields.errors import InputError, report_uncaught_input_errors


@dataclass
class DepthStreamDataParserConfig(DataParserConfig):
    """Posed depth images in order: a transforms.json with depth_file_path, a ReplicaCAD folder (traj.txt, results/), or
    a TUM RGB-D folder (depth.txt, groundtruth.txt). World frame and metres are kept."""

    _target: type = field(default_factory=lambda: DepthStreamDataParser)
    data: Path = Path()
    """Folder of the recording, or its transforms file."""
    depth_unit_scale_factor: float | None = None
    """Metres per unit of the depth images. None: what the recording says, else 0.001 for images of whole numbers
    (millimetres) and 1 for images of floats."""
    pose_scale: float = 1.0
    """Metres per unit of the cameras' translations."""
    camera_axes: Literal["auto", "opengl", "opencv"] = "auto"
    """Camera axes of the poses: opengl is y up, z backward; opencv is y down, z forward. auto: opengl in a
    transforms.json, opencv in the other layouts."""
    depth_along: Literal["axis", "ray"] = "axis"
    """What the depth images hold. axis: distance along the camera's optical axis, as depth cameras give it; ray:
    distance from the camera's centre, as some renderers, game engines and lidars give it."""
    inverted_poses: bool = False
    """Take the poses of the file as world-to-camera matrices."""
    camera_file: Path | None = None
    """File with the camera of a ReplicaCAD or TUM folder: JSON or YAML with w, h, fx, fy, cx, cy (the middle of the
    first pixel is at 0, 0) and scale (units of depth per metre), or as Open3D, ROS, OpenCV and Kalibr write them. None:
    such a file in the folder, or, for the TUM benchmark's own recordings, their camera."""
    noisy_depth: bool = False
    """Read results/ndepth* in place of results/depth* in a ReplicaCAD folder."""
    max_depth: float = math.inf
    """Largest depth, metres; larger ones are ignored."""
    fps: float = 30.0
    """Frames per second of a recording that has no timestamps."""
    eval_every: int = 10
    """Evaluate every N-th frame. Training uses all frames."""


class DepthStreamDataParser(DataParser):
    """Outputs for nerfstudio's viewer and evaluation; `stream` has the depth itself.

    metadata: depth_filenames, depth_unit_scale_factor (for all files), timestamps (seconds, float64),
    frames (indices in the stream), and has_color: whether image_filenames are colour images. Where not, they are the
    depth images.
    """

    config: DepthStreamDataParserConfig

    def __init__(self, config: DepthStreamDataParserConfig) -> None:
        report_uncaught_input_errors()  # nerfstudio's own methods can be trained on depth streams too
        super().__init__(config)
        self._stream: DepthStream | None = None

    def stream(self) -> DepthStream:
        """All frames in order; read once."""
        if self._stream is None:
            settings = self.config
            self._stream = read_depth_stream(
                settings.data,
                depth_unit_scale_factor=settings.depth_unit_scale_factor,
                pose_scale=settings.pose_scale,
                camera_axes=settings.camera_axes,
                depth_along=settings.depth_along,
                inverted_poses=settings.inverted_poses,
                camera_file=settings.camera_file,
                noisy_depth=settings.noisy_depth,
                max_depth=settings.max_depth,
                fps=settings.fps,
            )
        return self._stream

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        if self.config.eval_every < 1:
            raise InputError(f"--eval-every {self.config.eval_every}: it must be 1 or more.")
        stream = self.stream()
        chosen = list(range(0, len(stream), 1 if split == "train" else self.config.eval_every))
        width, height = stream.width, stream.height
        if stream.color_paths is not None:
            width, height = _size(stream.color_paths[0])
        across, down = width / stream.width, height / stream.height
        fx, fy, cx, cy = stream.intrinsics[chosen].T
        images = stream.color_paths or stream.depth_paths
        cameras = Cameras(
            camera_to_worlds=stream.poses[chosen, :3],
            fx=fx * across,
            fy=fy * down,
            cx=cx * across,
            cy=cy * down,
            width=width,
            height=height,
            camera_type=CameraType.PERSPECTIVE,
        )
        return DataparserOutputs(
            image_filenames=[images[index] for index in chosen],
            cameras=cameras,
            scene_box=SceneBox(aabb=stream.bounds()),
            metadata={
                "depth_filenames": [stream.depth_paths[index] for index in chosen],
                "depth_unit_scale_factor": stream.depth_unit_scale_factor,
                "timestamps": stream.timestamps[chosen],
                "frames": chosen,
                "has_color": stream.color_paths is not None,
            },
        )


def _size(path: Path) -> tuple[int, int]:
    """Width and height of an image."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"image {path} cannot be read ({error}). Copy or render it again.") from None


depth_stream = DataParserSpecification(
    config=DepthStreamDataParserConfig(),
    description="Posed depth images in order: transforms.json with depth_file_path, ReplicaCAD or TUM RGB-D folders.",
)
