"""Where rays meet the zero level of a signed distance that is only nearly one."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from eugen_fields.sampling.packed import intersect_box

SURFACE_COLOR = (0.86, 0.84, 0.80)
SURFACE_BACKGROUND = (1.0, 1.0, 1.0)
_BISECTIONS = 10
_AMBIENT = 0.2


@torch.no_grad()
def sphere_trace(
    sdf: Callable[[Tensor], Tensor],
    origins: Tensor,
    directions: Tensor,
    near: float,
    far: float | Tensor,
    *,
    step_factor: float = 0.8,
    max_steps: int = 64,
    tolerance: float = 1e-3,
) -> tuple[Tensor, Tensor]:
    """The first crossing from positive to negative along each ray, up to max_steps + 10 evaluations per ray.

    Source: "Sphere tracing" (Hart, 1996): step forward by the distance. A trained field may claim more than the
    distance, so steps are shortened by `step_factor`; a step across the surface is then halved until it is found. No
    step is shorter than (far - near) / max_steps, so that every ray gets to its end; surfaces thinner than that can be
    missed where the field is small on both sides of them.

    Args:
        sdf: signed distance (N,) in metres at points (N, 3) in metres.
        origins, directions: shape (R, 3), directions of unit length, metres.
        near, far: where rays begin and end, metres; far may be one for each ray, shape (R,).
        step_factor: of the distance, above 0 and at most 1.
        max_steps: maximum number of steps per ray.
        tolerance: metres; a ray that comes as near as this to the surface has hit it.

    Returns:
        distances along the rays (R,), metres, `far` where nothing was hit; and which rays hit, shape (R,). Rays that
        begin behind a surface (a negative distance at `near`) hit nothing: what they see is unknown.

    Raises:
        ValueError: a step factor, number of steps or range that cannot work.
    """
    if not 0.0 < step_factor <= 1.0:
        raise ValueError(f"step_factor is {step_factor}; it must be above 0 and at most 1")
    if max_steps < 1:
        raise ValueError(f"max_steps is {max_steps}; it must be 1 or more")
    ends = torch.as_tensor(far, dtype=origins.dtype, device=origins.device).expand(len(origins))
    if not bool((ends > near).all()):
        smallest = far if isinstance(far, float | int) else float(ends.min())
        raise ValueError(f"near is {near} and far {smallest}; near must be the smaller one")

    def value(rays: Tensor, distance: Tensor) -> Tensor:
        return sdf(origins[rays] + distance[:, None] * directions[rays]).to(origins.dtype)

    shortest = (ends - near) / max_steps
    depth = torch.full_like(origins[:, 0], near)
    hit = torch.zeros_like(depth, dtype=torch.bool)
    last_positive = depth.clone()
    rays = torch.arange(len(origins), device=origins.device)
    crossed = torch.full_like(rays, -1)
    # a GPU is waited for once a step, for the number of rays that go on
    for step in range(max_steps + 1):
        if len(rays) == 0:
            break
        at = depth[rays]
        signed = value(rays, at)
        if step > 0:
            crossed[rays] = torch.where(signed < 0, step, -1)
        hit[rays] = (signed >= 0) & (signed <= tolerance)
        going = signed > tolerance
        last_positive[rays] = torch.where(going, at, last_positive[rays])
        onward = (going & (at < ends[rays])).nonzero()[:, 0]
        rays, at, signed = rays[onward], at[onward], signed[onward]
        depth[rays] = torch.minimum(at + torch.maximum(step_factor * signed, shortest[rays]), ends[rays])

    rays = (crossed >= 0).nonzero()[:, 0]
    rays = rays[crossed[rays].argsort(stable=True)]
    before, behind = last_positive[rays], depth[rays]
    for _ in range(_BISECTIONS if len(rays) else 0):
        middle = 0.5 * (before + behind)
        inside = value(rays, middle) < 0
        before, behind = torch.where(inside, before, middle), torch.where(inside, middle, behind)
    depth[rays] = 0.5 * (before + behind)
    hit[rays] = True
    return torch.where(hit, depth, ends), hit


@torch.no_grad()
def trace_box(
    sdf: Callable[[Tensor], Tensor],
    aabb: Tensor,
    origins: Tensor,
    directions: Tensor,
    limits: tuple[Tensor, Tensor] | None = None,
    *,
    max_steps: int,
) -> tuple[Tensor, Tensor]:
    """Where rays (R,) meet the surface inside a box (2, 3), metres.

    Args:
        sdf, origins, directions, max_steps: as of sphere_trace.
        limits: further nears and fars of the rays, each (R,), metres.

    Returns:
        metres along the rays (R,), where they leave the box if they meet nothing; and which meet something, (R,).
    """
    near, far = intersect_box(origins, directions, aabb)
    near = near.clamp(min=0.0)
    if limits is not None:
        near, far = torch.maximum(near, limits[0]), torch.minimum(far, limits[1])
    inside = near < far
    depth, hit = far.clamp(min=0.0).clone(), torch.zeros_like(inside)
    if bool(inside.any()):
        start = origins[inside] + near[inside, None] * directions[inside]
        reach = (far - near)[inside]
        met, found = sphere_trace(sdf, start, directions[inside], 0.0, reach, max_steps=max_steps)
        found &= met < reach
        hit[inside] = found
        depth[inside] = torch.where(found, near[inside] + met, far[inside])
    return depth, hit


def shaded(
    normals_at: Callable[[Tensor], Tensor],
    origins: Tensor,
    directions: Tensor,
    depth: Tensor,
    hit: Tensor,
    *,
    surface_color: Sequence[float] = SURFACE_COLOR,
    background: Sequence[float] = SURFACE_BACKGROUND,
) -> dict[str, Tensor]:
    """A surface lit from the camera: rgb, accumulation, depth along unit rays and normals mapped to [0, 1],
    each (R, channels).

    Args:
        normals_at: unit normals (N, 3) at points (N, 3), metres.
        origins, directions: shape (R, 3).
        depth, hit: of trace_box, shape (R,).
        surface_color, background: RGB in [0, 1].
    """
    normals = torch.zeros_like(origins)
    if bool(hit.any()):
        points = (origins + depth[:, None] * directions)[hit]
        normals[hit] = normals_at(points).detach()
    light = _AMBIENT + (1.0 - _AMBIENT) * (normals * directions).sum(dim=-1, keepdim=True).abs()
    color = light * torch.tensor(surface_color, device=light.device)
    behind = torch.tensor(background, device=light.device).expand_as(color)
    return {
        "rgb": torch.where(hit[:, None], color, behind).clamp(0.0, 1.0),
        "accumulation": hit[:, None].to(depth),
        "depth": depth[:, None],
        "normals": (normals + 1.0) / 2.0,
    }
