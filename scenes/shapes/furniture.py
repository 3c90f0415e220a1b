"""A box room with furniture along its walls as one mesh: metres, z up, the origin in the middle of the floor."""

from dataclasses import dataclass

import numpy as np
from console import SceneError
from pathtracer import read_model
from shapes.catalogue import Model
from shapes.wavefront import Material

GAP = 0.04
"""Metres between pieces, and between them and the wall behind."""
CLEARANCE = 0.35
"""Metres that the camera's path keeps from pieces that reach up to it."""

_TRIES = 400


@dataclass
class Mesh:
    """Coloured triangles."""

    vertices: np.ndarray
    """(V, 3) metres."""
    triangles: np.ndarray
    """(T, 3) rows of `vertices`."""
    colors: np.ndarray
    """(T, 3) sRGB in [0, 1]."""


def join(meshes: list[Mesh]) -> Mesh:
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts)]),
        np.concatenate([mesh.colors for mesh in meshes]),
    )


def box_room(width: float, depth: float, height: float) -> Mesh:
    """Floor, ceiling and four walls, each of its own shade."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 1)]) * [width / 2, depth / 2, height]
    quads = [(0, 2, 6, 4), (1, 5, 7, 3), (0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6)]
    shades = [
        (0.55, 0.45, 0.35),
        (0.9, 0.9, 0.88),
        (0.8, 0.72, 0.62),
        (0.65, 0.75, 0.8),
        (0.75, 0.8, 0.68),
        (0.85,) * 3,
    ]
    triangles = [[a, b, c] for a, b, c, _ in quads] + [[a, c, d] for a, _, c, d in quads]
    return Mesh(corners, np.array(triangles), np.array(shades + shades))


def piece(model: Model) -> Mesh:
    """A model in its real size, standing on z = 0 about the origin, its back towards +y."""
    if not all(side > 0 for side in model.size):
        raise SceneError(f"{model.qualified_name} has no real size in its catalogue; choose another model")
    parts, materials = read_model(model)
    meshes = []
    for name, part in parts.items():
        color = _color(model, materials.get(name, Material()))
        meshes.append(Mesh(part.positions, part.triangles, np.tile(color, (len(part.triangles), 1))))
    mesh = join(meshes)
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    mesh.vertices = (mesh.vertices - (low + high) / 2 * [1, 1, 0] - low * [0, 0, 1]) / np.maximum(high - low, 1e-9)
    mesh.vertices = mesh.vertices * model.size
    return mesh


def _color(model: Model, material: Material) -> np.ndarray:
    """(3,) sRGB: the mean of the texture, or the diffuse colour."""
    image = model.read_image(material.diffuse_map) if material.diffuse_map else None
    if image is not None:
        return image[..., :3].reshape(-1, 3).mean(axis=0) / 255
    return np.clip(material.diffuse, 0, 1) ** (1 / 2.2)


def arrange(
    models: list[Model],
    room: tuple[float, float, float],
    path: np.ndarray,
    generator: np.random.Generator,
) -> Mesh:
    """The room with every model somewhere along its walls, its back to the wall.

    Args:
        models: what to place, in this order.
        room: width (x), depth (y) and height (z), metres.
        path: (P, 3) where the camera will be.
        generator: draws walls and places.

    Raises:
        SceneError: a model finds no place.
    """
    half = np.array(room[:2]) / 2
    meshes, taken = [box_room(*room)], np.zeros((0, 2, 2))
    for model in models:
        mesh = piece(model)
        for _ in range(_TRIES):
            turn = int(generator.integers(4))  # quarter turns; the back is towards +y, -x, -y, +x
            footprint = np.array(model.size[:2])[:: 1 if turn % 2 == 0 else -1]
            reach = half - footprint / 2 - GAP
            if (reach < 0).any() or model.size[2] > room[2]:
                continue
            middle = generator.uniform(-reach, reach)
            middle[1 - turn % 2] = reach[1 - turn % 2] * (1, -1, -1, 1)[turn]
            place = np.stack([middle - footprint / 2, middle + footprint / 2])
            apart = (place[0] > taken[:, 1] + GAP) | (place[1] < taken[:, 0] - GAP)
            away = np.linalg.norm(np.maximum(np.maximum(place[0] - path[:, :2], path[:, :2] - place[1]), 0), axis=1)
            clear = (away > CLEARANCE) | (path[:, 2] > model.size[2] + CLEARANCE)
            if apart.any(axis=1).all() and clear.all():
                break
        else:
            raise SceneError(
                f"no place along the walls for {model.qualified_name}, {model.size[0]:.2f} x {model.size[1]:.2f} m: "
                "give a larger --width and --depth, or fewer models"
            )
        taken = np.concatenate([taken, place[None]])
        cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[turn]
        rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
        meshes.append(Mesh(mesh.vertices @ rotation.T + [*middle, 0], mesh.triangles, mesh.colors))
    return join(meshes)
