"""From a field file to a field that can be evaluated and rendered. Needs torch and numpy alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from eugen_fields.encodings import IntegratedEncoding, PlaneEncoding
from eugen_fields.errors import InputError
from eugen_fields.fields import ConeRadianceField, MipNeRFField, NeRFField, PlaneField, SDFField
from eugen_fields.sampling import OccupancyGrid, SeenCells
from eugen_fields.storing import container
from eugen_fields.storing.cameras import Camera, upright
from eugen_fields.storing.damage import DamagedFile
from eugen_fields.storing.networks import NetworkReader, dequantised
from eugen_fields.storing.planes import read_planes
from eugen_fields.storing.rendering import render_distance, render_radiance
from eugen_fields.storing.scene import (
    MOST_CAMERAS,
    SCENES,
    ConeScene,
    DistanceScene,
    MipNeRFScene,
    PlanesScene,
    RadianceScene,
    SceneReader,
)

StoredRadianceField = NeRFField | ConeRadianceField


@dataclass
class StoredField:
    """What a field file holds, ready to use; `field`, `grid` and `seen` are on the CPU until `to` moves them."""

    path: Path
    bytes: int
    """Size of the file."""
    kind: str
    """radiance, mipnerf, planes or distance; storing.scene.SCENES lists them."""
    scene: RadianceScene | DistanceScene
    field: StoredRadianceField | SDFField
    """The network, in evaluation mode: `field(positions, directions)` gives density and colour, or `field.sdf(points)`
    the signed distance."""
    grid: OccupancyGrid | None
    """Where a field of density is occupied; None for signed distance."""
    seen: SeenCells | None
    """Where surfaces were seen; None for density."""
    cameras: list[Camera]
    """Some of the training cameras."""
    bits: dict[str, int]
    """Bits that hold the integers of each matrix, by its name."""
    sha256: str

    @property
    def aabb(self) -> Tensor:
        """Scene box, shape (2, 3)."""
        return torch.tensor(self.scene.aabb)

    @property
    def world_from_scene(self) -> Tensor:
        """Maps points of the scene to the world of the data set, shape (4, 4), float64."""
        return torch.tensor(self.scene.world_from_scene, dtype=torch.float64).view(4, 4)

    @property
    def facts(self) -> dict[str, Any]:
        """What is worth telling: name, method, layer, step, kind, bytes, multiplications per sample, bits of the
        matrices and what was measured when the file was written."""
        networks = [self.field.trunk, *([] if isinstance(self.field, SDFField) else [self.field.color_head])]
        return {
            "name": self.scene.name,
            "method": self.scene.method,
            "layer": self.scene.layer,
            "step": self.scene.step,
            "kind": self.kind,
            "bytes": self.bytes,
            "multiplications": sum(network.multiplications() for network in networks),  # type: ignore[operator]
            "bits": dict(self.bits),
            "measured": dict(self.scene.measured),
        }

    def to(self, device: str | torch.device) -> StoredField:
        """Moves the field and its grids to a device; returns itself."""
        for part in (self.field, self.grid, self.seen):
            if part is not None:
                part.to(device)
        return self

    def render(self, camera: Camera, *, normals: bool = False, chunk_rays: int = 1 << 13) -> dict[str, Tensor]:
        """What a camera sees: rgb, accumulation, depth along unit rays and, if asked for or of a signed distance,
        normals mapped to [0, 1]; each (height, width, channels), on the CPU.

        The code is that of the training runs, so that a run and its file differ by what rounding the numbers has
        changed, and the same file gives the same bits wherever torch computes the same.

        Args:
            camera: in the scene; `cameras` has some.
            normals: of fields of density, for which they take a gradient per pixel.
            chunk_rays: rays that are rendered at once.
        """
        outputs = self.render_rays(*camera.rays(), normals=normals, chunk_rays=chunk_rays)
        return {name: value.view(camera.height, camera.width, -1) for name, value in outputs.items()}

    def render_rays(
        self,
        origins: Tensor,
        directions: Tensor,
        radius: Tensor | None = None,
        *,
        normals: bool = False,
        chunk_rays: int = 1 << 13,
    ) -> dict[str, Tensor]:
        """The same for rays with origins and unit directions (R, 3), in scene units; each (R, channels). `radius`,
        shape (R, 1), is that at distance 1 of the cones around them, of fields that see cones; None: they have no
        width."""
        device = self.field.aabb.device
        rays = origins, directions, torch.zeros_like(origins[:, :1]) if radius is None else radius
        network = self.field.folded()
        chunks = []
        with torch.no_grad():
            for chunk in zip(*(values.to(device).split(chunk_rays) for values in rays)):
                if isinstance(network, SDFField):
                    assert isinstance(self.scene, DistanceScene)
                    outputs = render_distance(self.scene, network, chunk)
                else:
                    assert isinstance(self.scene, RadianceScene) and self.grid is not None
                    outputs = render_radiance(self.scene, network, self.grid, chunk, normals=normals)
                chunks.append({name: value.cpu() for name, value in outputs.items()})
        return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def load_field(path: str | Path) -> StoredField:
    """Opens a field file.

    Raises:
        InputError: there is no such file, or it is damaged, of a later version, too large or no field file.
    """
    path = Path(path).expanduser()
    return understand(container.read(path), path)


def understand(content: container.Content, path: Path) -> StoredField:
    """The field of what a file holds.

    Args:
        path: of the file, for messages.

    Raises:
        InputError: the content is not that of a field.
    """
    if content.kind not in SCENES:
        kinds = ", ".join(SCENES)
        raise InputError(f"{path} holds a field of a kind that is not known here; those that are: {kinds}.")
    reader = SceneReader(content.scene, str(path))
    networks = reader.take("networks")
    scene = reader.read(content.kind)
    reader.finish(content.is_later)
    parts = _Parts(content, str(path), networks)
    cameras = parts.cameras(scene)
    aabb = torch.tensor(scene.aabb)
    grid = seen = None
    if isinstance(scene, RadianceScene):
        grid = parts.grid(scene, aabb)
        network: StoredRadianceField | SDFField = parts.radiance(scene, aabb)
    else:
        seen = parts.seen(scene, aabb)
        network = parts.distance(scene, aabb)
    parts.finish()
    size = path.stat().st_size if path.is_file() else 0
    network = network.eval().requires_grad_(False)
    bits = {name: bits_of(array) for name, array in content.arrays.items() if array.dtype.kind == "i"}
    return StoredField(path, size, content.kind, scene, network, grid, seen, cameras, bits, content.sha256)


def bits_of(integers: np.ndarray) -> int:
    """Bits that hold integers and their signs, at least 2."""
    return max(2, 1 + int(np.abs(integers.astype(np.int32)).max(initial=0)).bit_length())


@dataclass
class _Parts:
    """Takes the arrays of a file apart."""

    content: container.Content
    source: str
    networks: Any
    left: dict[str, np.ndarray] = field(init=False)
    """Arrays that nothing has taken yet."""
    numbers: dict[str, Tensor] = field(default_factory=dict)
    """Numbers of networks that nothing has taken yet."""

    def __post_init__(self) -> None:
        self.left = dict(self.content.arrays)

    def finish(self) -> None:
        for name in (*self.left, *self.numbers):
            if not self.content.is_later:
                raise self.wrong(f"its array {name} belongs to nothing")

    def wrong(self, what: str) -> InputError:
        return DamagedFile(self.source, what)

    def cameras(self, scene: RadianceScene | DistanceScene) -> list[Camera]:
        poses = self.left.pop("cameras", None)
        if poses is None:
            return []
        count = len(poses) if poses.ndim == 2 else 0
        if poses.dtype.kind != "f" or poses.shape != (count, 12) or not 1 <= count <= MOST_CAMERAS:
            raise self.wrong(f"cameras are not 1 to {MOST_CAMERAS} poses of 12 numbers")
        if len(scene.lenses) not in (1, count):
            raise self.wrong(f"it has {len(scene.lenses)} lenses for {count} cameras")
        found = []
        for index, pose in enumerate(torch.from_numpy(poses.astype("float32")).view(-1, 3, 4)):
            pose = upright(pose)
            if abs(float(torch.linalg.det(pose[:, :3])) - 1.0) > 1e-2:
                raise self.wrong(f"the pose of camera {index} is no rotation")
            width, height, *rest = scene.lenses[index if len(scene.lenses) > 1 else 0]
            found.append(Camera(pose, round(width), round(height), *rest))
        return found

    def bits(self, name: str, count: int) -> Tensor:
        """That many booleans."""
        packed = self.left.pop(name, None)
        if packed is None or packed.dtype.kind != "u" or packed.shape != (-(-count // 8),):
            raise self.wrong(f"array {name} does not hold {count:,} bits")
        return torch.from_numpy(np.unpackbits(packed, count=count, bitorder="little").astype(bool))

    def grid(self, scene: RadianceScene, aabb: Tensor) -> OccupancyGrid:
        occupied = self.bits("grid", scene.grid_resolution**3)
        if not bool(occupied.any()):
            raise self.wrong("no cell of its grid is occupied")
        grid = OccupancyGrid(aabb, scene.grid_resolution, scene.step_size)
        grid.restrict(occupied)
        return grid.eval()

    def seen(self, scene: DistanceScene, aabb: Tensor) -> SeenCells:
        seen = SeenCells(aabb, scene.seen_resolution)
        count = math.prod(seen.shape)
        for name in ("surface", "open"):
            packed = np.packbits(self.bits(name, count).numpy(), bitorder="little")
            getattr(seen, f"{name}_bits").copy_(torch.from_numpy(packed))
        return seen.eval()

    def radiance(self, scene: RadianceScene, aabb: Tensor) -> StoredRadianceField:
        planes = read_planes(self.left, scene, self.source) if isinstance(scene, PlanesScene) else []
        reader = self._reader("trunk", "color_head")

        def make(positions: int, directions: int) -> tuple[Any, Any]:
            trunk = reader.build("trunk", self.networks["trunk"], positions, 1 + scene.feature_dim)
            head = reader.build("color_head", self.networks["color_head"], scene.feature_dim + directions, 3)
            return trunk, head

        common: dict[str, Any] = {
            "feature_dim": scene.feature_dim,
            "direction_frequencies": scene.direction_frequencies,
            "initial_density": scene.initial_density,
        }
        octaves = scene.position_frequencies
        if not isinstance(scene, ConeScene):
            return NeRFField.of_networks(aabb, make, position_frequencies=octaves, **common)
        common["footprint"] = scene.footprint
        if isinstance(scene, MipNeRFScene):
            return MipNeRFField.of_networks(aabb, IntegratedEncoding(octaves, basis=scene.basis), make, **common)
        assert isinstance(scene, PlanesScene)
        encoding = PlaneEncoding.of_planes(planes, combination=scene.plane_combination, num_frequencies=octaves)
        return PlaneField.of_networks(aabb, encoding, make, **common)

    def distance(self, scene: DistanceScene, aabb: Tensor) -> SDFField:
        reader = self._reader("trunk")
        return SDFField.of_network(
            aabb,
            lambda positions: reader.build("trunk", self.networks["trunk"], positions, 1),
            scale=scene.scale,
            position_frequencies=scene.position_frequencies,
            output_scale=scene.output_scale,
        )

    def _reader(self, *names: str) -> NetworkReader:
        """Of the networks of these names, whose numbers are what is left."""
        if not isinstance(self.networks, dict) or set(self.networks) != set(names):
            raise self.wrong(f"its networks are not {' and '.join(names)}")
        own = {name: self.left.pop(name) for name in list(self.left) if name.partition(".")[0] in names}
        self.numbers = dequantised(own, self.source)
        return NetworkReader(self.numbers, self.source, self.content.is_later)
