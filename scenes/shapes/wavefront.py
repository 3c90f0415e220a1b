"""Wavefront OBJ and MTL: text in, one indexed triangle mesh per material out."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Material:
    """The part of an MTL material that a diffuse coat under varnish needs."""

    diffuse: tuple[float, float, float] = (0.8, 0.8, 0.8)
    """Kd, linear RGB in [0, 1]."""
    diffuse_map: str | None = None
    """map_Kd: file name of the texture that stands in for `diffuse`."""
    opacity_map: str | None = None
    """map_d: file name of the texture whose brightness is the opacity."""
    opacity: float = 1.0
    """d, or 1 - Tr: 0 lets all light through."""
    shininess: float = 10.0
    """Ns: exponent of the Phong lobe."""


@dataclass
class Part:
    """The triangles of one material."""

    positions: np.ndarray
    """(vertices, 3) in the units of the file."""
    normals: np.ndarray
    """(vertices, 3) unit length."""
    texture_coordinates: np.ndarray
    """(vertices, 2), v upwards; zeros where the file gives none."""
    triangles: np.ndarray
    """(triangles, 3) rows of the arrays above."""


def parse_materials(text: str) -> dict[str, Material]:
    """The materials of an MTL file by name."""
    materials: dict[str, Material] = {}
    material = Material()
    for line in text.splitlines():
        keyword, _, value = line.strip().partition(" ")
        value = value.strip()
        if keyword == "newmtl":
            material = materials[value] = Material()
        elif keyword == "Kd":
            red, green, blue = (float(number) for number in value.split()[:3])
            material.diffuse = (red, green, blue)
        elif keyword == "map_Kd":
            material.diffuse_map = value
        elif keyword == "map_d":
            material.opacity_map = value
        elif keyword == "d":
            material.opacity = float(value.split()[-1])  # `d -halo 0.5` is legal
        elif keyword == "Tr":
            material.opacity = 1.0 - float(value)
        elif keyword == "Ns":
            material.shininess = float(value)
    return materials


def material_libraries(text: str) -> list[str]:
    """The MTL files an OBJ file names."""
    return [line.split(maxsplit=1)[1].strip() for line in text.splitlines() if line.startswith("mtllib ")]


def parse_object(text: str) -> dict[str, Part]:
    """The triangles of an OBJ file by the name of their material (`usemtl`; "" where there is none).

    Polygons become fans of triangles. Corners without a normal get the mean over the faces that share their vertex and
    smoothing group (`s`) and are less than 90 degrees apart; with `s off` a face is flat.
    """
    rows: dict[str, list[list[float]]] = {"v": [], "vt": [], "vn": []}
    corners: list[tuple[int, int, int, int, int]] = []  # v, vt, vn, smoothing, material; three in a row are a triangle
    materials: dict[str, int] = {"": 0}
    material = smoothing = faces = 0
    for line in text.replace("\\\n", " ").splitlines():
        keyword, *values = line.split() or [""]
        if keyword in rows:
            rows[keyword].append([float(value) for value in values[: 2 if keyword == "vt" else 3]])
        elif keyword == "usemtl":
            material = materials.setdefault(line.split(maxsplit=1)[1].strip(), len(materials))
        elif keyword == "s":
            smoothing = int(values[0]) if values and values[0].isdigit() else 0
        elif keyword == "f":
            faces += 1
            polygon = [
                (*_corner(value, rows), smoothing or -faces, material)  # a group of its own keeps a flat face flat
                for value in values
            ]
            for second, third in zip(polygon[1:], polygon[2:]):
                corners += (polygon[0], second, third)
    if not corners:
        return {}
    table = np.array(corners)
    positions, texture_coordinates, given_normals = (
        np.array(rows[keyword] or np.zeros((1, width))).reshape(-1, width)
        for keyword, width in (("v", 3), ("vt", 2), ("vn", 3))
    )
    given = np.where(table[:, 2:3] < 0, 0.0, given_normals[table[:, 2]])
    normals = _corner_normals(positions, table, given)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    texture_coordinates = np.where(table[:, 1:2] < 0, 0.0, texture_coordinates[table[:, 1]])
    parts = {}
    for name, number in materials.items():
        chosen = table[:, 4] == number
        if chosen.any():
            values = np.hstack([positions[table[chosen, 0]], normals[chosen], texture_coordinates[chosen]])
            vertices, index = np.unique(values, axis=0, return_inverse=True)
            parts[name] = Part(vertices[:, :3], vertices[:, 3:6], vertices[:, 6:], index.reshape(-1, 3))
    return parts


def _corner(value: str, rows: dict[str, list[list[float]]]) -> tuple[int, int, int]:
    """`7`, `7/2`, `7//3` or `7/2/3` as zero-based rows, -1 where nothing is given; below zero counts from the end."""
    numbers = [int(number or 0) for number in value.split("/")] + [0, 0]
    vertex, texture, normal = (
        number - 1 if number > 0 else len(rows[keyword]) + number if number < 0 else -1
        for number, keyword in zip(numbers, ("v", "vt", "vn"))
    )
    return vertex, texture, normal


def _corner_normals(positions: np.ndarray, table: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(corners, 3) normals, not yet of unit length; `given` (corners, 3) are those of the file, zero where it has none.

    A given normal is taken unless it points away from its face, where it would shade black. Elsewhere: the mean over
    the corners of equal vertex and smoothing group whose faces are less than 90 degrees apart, each counted by its
    angle, so that it does not matter how a polygon is cut (Thurmer and Wuthrich 1998).
    """
    triangles = positions[table[:, 0]].reshape(-1, 3, 3)
    ahead, behind = np.roll(triangles, -1, axis=1) - triangles, np.roll(triangles, 1, axis=1) - triangles
    faces = np.cross(ahead, behind).reshape(-1, 3)
    lengths = np.linalg.norm(faces, axis=1)
    faces /= np.maximum(lengths, 1e-30)[:, None]
    angles = np.arctan2(lengths, (ahead * behind).sum(axis=-1).ravel())
    # Every pair (corner, other) within a group: corner i of a group of n meets the n corners from the group's start.
    _, group, sizes = np.unique(table[:, [0, 3]], axis=0, return_inverse=True, return_counts=True)
    group = group.ravel()
    partners = sizes[group]
    corner = np.repeat(np.arange(len(table)), partners)
    rank = np.arange(len(corner)) - np.repeat(np.cumsum(partners) - partners, partners)
    other = np.argsort(group)[(np.cumsum(sizes) - sizes)[group[corner]] + rank]
    near = (faces[corner] * faces[other]).sum(axis=1) > 1e-6
    smooth = np.zeros_like(faces)
    np.add.at(smooth, corner[near], (faces * angles[:, None])[other[near]])
    return np.where((given * faces).sum(axis=1, keepdims=True) > 0, given, smooth)
