"""Which frames of a stream are kept, and which of the kept ones a training step looks at.

Source: "iSDF" (Ortiz et al., 2022); the rule of choosing by loss is that of "iMAP" (Sucar et al., 2021).
"""

import torch
from torch import Tensor


def depth_agreement(rendered: Tensor, hits: Tensor, measured: Tensor, tolerance: float = 0.1) -> float:
    """Share of rays along which the map agrees with the measured depth: the ray hits the map within `tolerance` times
    the measured depth of it.

    Args:
        rendered: depths of the map, shape (R,), metres.
        hits: which rays hit the map at all, shape (R,).
        measured: shape (R,), metres, in the same sense as `rendered` (along the rays or along the optical axis).

    Returns:
        0 to 1; 1 for no rays, which contradict nothing.
    """
    if len(measured) == 0:
        return 1.0
    agrees = hits & ((rendered - measured).abs() <= tolerance * measured)
    return float(agrees.float().mean())


def becomes_keyframe(agreement: float, seconds: float, *, least_agreement: float = 0.65, longest: float = 5.0) -> bool:
    """Whether a frame is kept: the map disagrees with too much of it, or the last keyframe is too long ago.

    Args:
        agreement: of the frame with the map, from depth_agreement.
        seconds: since the last keyframe.
        least_agreement: a frame that agrees less is kept.
        longest: seconds after which one is kept anyway.
    """
    return agreement < least_agreement or seconds >= longest


def frame_losses(losses: Tensor, frames: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
    """Mean loss of each frame's rays.

    Args:
        losses: of each ray, shape (R,).
        frames: index of each ray's frame, shape (R,).

    Returns:
        means (num_frames,), 0 for frames without rays, and the numbers of rays (num_frames,).
    """
    counts = count_frames(frames, num_frames)
    sums = torch.zeros(num_frames, dtype=losses.dtype, device=losses.device).index_add_(0, frames, losses.detach())
    return sums / counts.clamp_min(1), counts


def count_frames(frames: Tensor, num_frames: int) -> Tensor:
    """How many rays each frame has, int64 (num_frames,), from the index of each ray's frame, shape (R,). As bincount,
    for whose result the host would wait."""
    return torch.zeros(num_frames, dtype=torch.long, device=frames.device).index_add_(
        0, frames, torch.ones_like(frames)
    )


def choose_frames(
    losses: Tensor, *, newest: int = 2, count: int = 3, generator: torch.Generator | None = None
) -> Tensor:
    """The newest frames, and older ones drawn without replacement in proportion to their loss.

    Args:
        losses: the last known mean loss of each frame, in the order of time, shape (K,), finite and at least 0.
        newest: frames from the end that are always chosen.
        count: frames drawn from the others; all of them where there are no more.
        generator: of the draws; its device decides where they are made.

    Returns:
        indices (n,), ascending, n = min(K, newest + count).

    Raises:
        ValueError: a loss that is negative or not finite.
    """
    if not bool((torch.isfinite(losses) & (losses >= 0)).all()):
        raise ValueError(f"losses hold {losses.tolist()}; they must be finite and at least 0")
    older = max(0, len(losses) - newest)
    drawn = torch.arange(older, device=losses.device)
    if older > count:
        device = generator.device if generator is not None else losses.device
        # no frame has a probability of exactly 0: a perfect one can be drawn where there are no others
        chances = losses[:older].to(device, torch.float64)
        chances = chances + (1e-9 * float(chances.max()) or 1.0)
        drawn = torch.multinomial(chances, count, generator=generator).sort().values.to(losses.device)
    return torch.cat([drawn, torch.arange(older, len(losses), device=losses.device)])
