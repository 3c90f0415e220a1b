"""Path tracing with Mitsuba 3 (the extra `scenes`), imported only when used: a catalogue model, alone or outdoors."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from capture.distortion import FINENESS, Camera, Lens
from console import SceneError
from outdoors.ground import ground
from outdoors.surroundings import landscape
from shapes.catalogue import Model
from shapes.wavefront import Material, Part, material_libraries, parse_materials, parse_object

BOUND = 1.2
"""Radius of the sphere about the origin that holds the model, unless a smaller one is asked for."""


@dataclass(frozen=True)
class Look:
    """What can be changed about a model."""

    radius: float = BOUND
    """Radius of the sphere that holds it."""
    roughness: float | None = None
    """GGX roughness of all its surfaces; None: that of their materials."""
    light: float = 1.0
    """Factor of all light on it."""


DEFAULT_LOOK = Look()

_SAMPLES_PER_PASS = 8_000_000
"""Paths traced at once: more would not fit the memory of a laptop, fewer are slower."""
_MAX_DEPTH = 8
_LLVM_LIBRARIES = ("lib*/libLLVM*19*.so*", "lib*/*/libLLVM*19*.so*", "lib*/llvm*19/lib/libLLVM*.so*")
"""Where Linux distributions put LLVM 19, under /usr. Versions 14 and 15 crash on some processors."""


def load_mitsuba():
    """Mitsuba with its LLVM variant where LLVM 19 is found (or DRJIT_LIBLLVM_PATH is set), else the scalar one."""
    if "DRJIT_LIBLLVM_PATH" not in os.environ:
        found = sorted(path for pattern in _LLVM_LIBRARIES for path in Path("/usr").glob(pattern))
        if found:  # read by Dr.Jit when it is first imported
            os.environ["DRJIT_LIBLLVM_PATH"] = str(found[0])
    library = os.environ.get("DRJIT_LIBLLVM_PATH")
    if library and not Path(library).is_file():
        raise SceneError(f"DRJIT_LIBLLVM_PATH is {library}, which is not a file: unset it, or name libLLVM 19")
    try:
        import mitsuba
    except ImportError as error:
        message = f"rendering needs Mitsuba 3 ({error}): pip install -e '.[scenes]'"
        raise SceneError(message) from error
    try:
        mitsuba.set_variant("llvm_ad_rgb" if library else "scalar_rgb")
    except ImportError:
        print(f"{library} does not work as LLVM for Mitsuba: rendering with its slower scalar variant", file=sys.stderr)
        mitsuba.set_variant("scalar_rgb")
    return mitsuba


def read_model(model: Model, radius: float = BOUND) -> tuple[dict[str, Part], dict[str, Material]]:
    """The model's parts, z up and inside the sphere of a radius about the origin, and its materials."""
    materials: dict[str, Material] = {}
    try:
        text = model.read_text()
        parts = parse_object(text)
        for library in material_libraries(text):
            if model.holds(library):
                materials |= parse_materials(model.read_text(library))
    except (ValueError, IndexError) as error:
        raise SceneError(f"{model.member} in {model.archive} or its materials make no sense: {error}") from error
    if not parts:
        raise SceneError(f"{model.member} in {model.archive} holds no triangles; choose another model")
    y_up_to_z_up = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    rotation = y_up_to_z_up @ model.rotation
    for part in parts.values():
        part.positions = part.positions @ rotation.T
        part.normals = part.normals @ rotation.T
    vertices = np.concatenate([part.positions for part in parts.values()])
    centre = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    scale = radius / np.linalg.norm(vertices - centre, axis=1).max()
    for part in parts.values():
        part.positions = (part.positions - centre) * scale
    return parts, materials


def model_mesh(model: Model, lift: float = 0.0, radius: float = BOUND) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and triangles (T, 3) of all parts of the model as it stands in the scene, raised by `lift`."""
    parts = list(read_model(model, radius)[0].values())
    first = np.cumsum([0, *(len(part.positions) for part in parts)])
    vertices = np.concatenate([part.positions for part in parts]) + [0.0, 0.0, lift]
    return vertices, np.concatenate([part.triangles + start for part, start in zip(parts, first)])


def build_scene(mitsuba, model: Model, hdri: Path | None, unbounded: bool = False, look: Look = DEFAULT_LOOK):
    """The Mitsuba scene and how high the middle of its model is.

    It is the model under an environment light (`hdri`, or the gradient of `studio_light`) that is not seen. With
    `unbounded` the model is lifted onto a ground at z = 0 and the light, without `hdri` a landscape, is seen.
    """
    parts, materials = read_model(model, look.radius)
    lift = -min(part.positions[:, 2].min() for part in parts.values()) if unbounded else 0.0
    upright = mitsuba.ScalarTransform4f().rotate([1, 0, 0], 90)  # its y is our z
    light: dict = {"type": "envmap", "to_world": upright, "scale": look.light}
    if hdri is None:
        light["bitmap"] = mitsuba.Bitmap(landscape() if unbounded else studio_light())
    else:
        try:
            light["bitmap"] = mitsuba.Bitmap(str(hdri))
        except RuntimeError as error:
            raise SceneError(f"--hdri {hdri}: {str(error).splitlines()[0]}; give an .exr or .hdr panorama") from error
    scene = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": _MAX_DEPTH, "hide_emitters": not unbounded},
        "light": light,
    }
    if unbounded:
        for part in parts.values():
            part.positions = part.positions + [0, 0, lift]
        disc, picture = ground()
        reflectance = {"type": "bitmap", "bitmap": mitsuba.Bitmap(picture)}
        scene["ground"] = _mesh(mitsuba, disc, {"type": "diffuse", "reflectance": reflectance})
    for number, (name, part) in enumerate(parts.items()):
        surface = _surface(mitsuba, model, materials.get(name, Material()), look.roughness)
        scene[f"part_{number}"] = _mesh(mitsuba, part, surface)
    return mitsuba.load_dict(scene), lift


def studio_light(height: int = 128) -> np.ndarray:
    """(height, 2 height, 3) linear radiance of the light used without an HDRI, as a panorama with the zenith on top.

    Bluish white overhead, warm white at the horizon, a dim brown floor, and two soft lamps at an elevation of 45 and
    25 degrees (a bright warm one, and a fainter blue one across from it) so that every side is shaded.
    """
    elevation = np.pi * (0.5 - (np.arange(height) + 0.5) / height)[:, None]
    azimuth = 2 * np.pi * ((np.arange(2 * height) + 0.5) / (2 * height))[None]
    directions = _direction(azimuth, elevation)
    upwards = np.clip(directions[..., 2:], 0, 1)
    sky = (1 - upwards) * np.array([0.62, 0.58, 0.52]) + upwards * np.array([0.42, 0.48, 0.58])
    floor = np.array([0.22, 0.19, 0.16])
    radiance = np.where(directions[..., 2:] > 0, sky, floor)
    for lamp, sharpness, colour in (
        (np.radians([60, 45]), 20.0, (4.6, 4.2, 3.6)),
        (np.radians([240, 25]), 10.0, (1.5, 1.8, 2.3)),
    ):
        radiance = radiance + np.exp(sharpness * (directions @ _direction(*lamp) - 1))[..., None] * np.array(colour)
    return radiance.astype(np.float32)


def _direction(azimuth, elevation) -> np.ndarray:
    """(..., 3) unit vectors, z up, at angles in radians."""
    azimuth, elevation = np.broadcast_arrays(azimuth, elevation)
    flat = np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=-1)


def photograph(mitsuba, scene, camera: Camera, pose: np.ndarray, samples: int, seed: tuple[int, ...]) -> np.ndarray:
    """One view as (height, width, 4) uint8: sRGB with straight alpha; about `samples` paths per pixel."""
    if camera.lens == Lens():
        return to_srgb_straight(
            render(mitsuba, scene, pose, camera.angle_x, camera.width, camera.height, samples, seed)
        )
    width, height, angle_x = camera.wide
    fine_samples = -(-samples // FINENESS**2)
    return to_srgb_straight(camera.apply(render(mitsuba, scene, pose, angle_x, width, height, fine_samples, seed)))


def render(
    mitsuba,
    scene,
    pose: np.ndarray,
    angle_x: float,
    width: int,
    height: int,
    samples: int,
    seed: tuple[int, ...],
) -> np.ndarray:
    """One view of a pinhole camera as (height, width, 4): linear colour premultiplied by alpha.

    `pose` is (4, 4) camera-to-world in OpenGL axes, `angle_x` the field of view in radians, `samples` paths per pixel.
    """
    # Mitsuba's cameras look down +z with x to the left: half a turn about y from OpenGL's.
    to_world = mitsuba.ScalarTransform4f(pose @ np.diag([-1.0, 1.0, -1.0, 1.0]))
    sensor = mitsuba.load_dict(
        {
            "type": "perspective",
            "fov": float(np.degrees(angle_x)),
            "fov_axis": "x",
            "near_clip": 0.01,
            "far_clip": 100.0,
            "to_world": to_world,
            "sampler": {"type": "independent"},
            "film": {
                "type": "hdrfilm",
                "width": width,
                "height": height,
                "pixel_format": "rgba",
                "rfilter": {"type": "box"},  # a pixel is the mean over its own square
            },
        }
    )
    most = max(1, _SAMPLES_PER_PASS // (width * height))
    total = np.zeros((height, width, 4))
    for number, start in enumerate(range(0, samples, most)):
        count = min(most, samples - start)
        pass_seed = int(np.random.SeedSequence([*seed, number]).generate_state(1)[0])
        total += count * np.array(mitsuba.render(scene, sensor=sensor, spp=count, seed=pass_seed))
    return total / samples


def to_srgb_straight(linear: np.ndarray) -> np.ndarray:
    """(..., 4) linear colour premultiplied by alpha -> (..., 4) uint8 sRGB (IEC 61966-2-1) with straight alpha."""
    alpha = np.clip(linear[..., 3:], 0, 1)
    colour = np.clip(linear[..., :3] / np.maximum(alpha, 1e-6), 0, 1)
    encoded = np.where(colour <= 0.0031308, 12.92 * colour, 1.055 * np.maximum(colour, 1e-9) ** (1 / 2.4) - 0.055)
    image = np.rint(255 * np.concatenate([encoded, alpha], axis=-1)).astype(np.uint8)
    image[image[..., 3] == 0] = 0
    return image


def _mesh(mitsuba, part: Part, surface: dict):
    properties = mitsuba.Properties()
    properties["surface"] = mitsuba.load_dict(surface)
    mesh = mitsuba.Mesh(
        "part",
        vertex_count=len(part.positions),
        face_count=len(part.triangles),
        props=properties,
        has_vertex_normals=True,
        has_vertex_texcoords=True,
    )
    parameters = mitsuba.traverse(mesh)
    upside_down = part.texture_coordinates * [1, -1] + [0, 1]  # Mitsuba counts v from the top of the picture
    parameters["vertex_positions"] = part.positions.astype(np.float32).ravel()
    parameters["vertex_normals"] = part.normals.astype(np.float32).ravel()
    parameters["vertex_texcoords"] = upside_down.astype(np.float32).ravel()
    parameters["faces"] = part.triangles.astype(np.uint32).ravel()
    parameters.update()
    return mesh


def _surface(mitsuba, model: Model, material: Material, roughness: float | None) -> dict:
    """A rough plastic of the material's colour, seen from both sides, with holes where it is not opaque."""
    if roughness is None:
        roughness = float(np.clip(np.sqrt(2 / (material.shininess + 2)), 0.05, 0.8))  # Walter et al. 2007, from Phong's
    diffuse: dict = {"type": "rgb", "value": list(np.clip(material.diffuse, 0, 1))}
    opacity: float | dict = float(np.clip(material.opacity, 0, 1))
    image = model.read_image(material.diffuse_map) if material.diffuse_map else None
    if image is not None:
        diffuse = {"type": "bitmap", "bitmap": mitsuba.Bitmap(np.ascontiguousarray(image[..., :3]))}
        if image[..., 3].min() < 255:
            opacity = _opacity(mitsuba, image[..., 3] / 255 * opacity)
    mask = model.read_image(material.opacity_map) if material.opacity_map else None
    if mask is not None:
        opacity = _opacity(mitsuba, mask[..., :3].mean(axis=-1) / 255)
    plastic = {
        "type": "roughplastic",
        "distribution": "ggx",
        "alpha": roughness,
        "diffuse_reflectance": diffuse,
    }
    surface = {"type": "twosided", "coat": plastic}
    if isinstance(opacity, float) and opacity == 1:
        return surface
    return {"type": "mask", "opacity": opacity, "behind": surface}


def _opacity(mitsuba, values: np.ndarray) -> dict:
    bitmap = mitsuba.Bitmap(np.ascontiguousarray(values[..., None], dtype=np.float32))
    return {"type": "bitmap", "raw": True, "bitmap": bitmap}
