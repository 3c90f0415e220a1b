"""Where rays meet the zero level of a signed distance that is only nearly one."""

from collections.abc import Callable

import torch
from torch import Tensor

_BISECTIONS = 10


@torch.no_grad()
def sphere_trace(
    sdf: Callable[[Tensor], Tensor],
    origins: Tensor,
    directions: Tensor,
    near: float,
    far: float,
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
        near, far: where rays begin and end, metres.
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
    if not near < far:
        raise ValueError(f"near is {near} and far {far}; near must be the smaller one")

    def value(rays: Tensor, distance: Tensor) -> Tensor:
        return sdf(origins[rays] + distance[:, None] * directions[rays]).to(origins.dtype)

    shortest = (far - near) / max_steps
    depth = torch.full_like(origins[:, 0], near)
    hit = torch.zeros_like(depth, dtype=torch.bool)
    last_positive = depth.clone()
    rays = torch.arange(len(origins), device=origins.device)
    crossed = []
    for step in range(max_steps + 1):
        if len(rays) == 0:
            break
        at = depth[rays]
        signed = value(rays, at)
        if step > 0:
            crossed.append(rays[signed < 0])
        hit[rays[(signed >= 0) & (signed <= tolerance)]] = True
        going = signed > tolerance
        rays, at, signed = rays[going], at[going], signed[going]
        last_positive[rays] = at
        onward = at < far
        rays = rays[onward]
        depth[rays] = (at + (step_factor * signed).clamp_min(shortest))[onward].clamp_max(far)

    rays = torch.cat(crossed) if crossed else rays[:0]
    before, behind = last_positive[rays], depth[rays]
    for _ in range(_BISECTIONS if len(rays) else 0):
        middle = 0.5 * (before + behind)
        inside = value(rays, middle) < 0
        before, behind = torch.where(inside, before, middle), torch.where(inside, middle, behind)
    depth[rays] = 0.5 * (before + behind)
    hit[rays] = True
    return torch.where(hit, depth, torch.full_like(depth, far)), hit
