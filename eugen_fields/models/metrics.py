"""Image quality: PSNR and SSIM always, LPIPS only where its weights are on disk."""

from functools import cache
from pathlib import Path

import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

_ALEXNET_WEIGHTS = "alexnet-owt-7be5be79.pth"


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images in [0, 1], any equal shapes."""
    return -10.0 * torch.log10((image - truth).square().mean())


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004) of images in [0, 1], shape (H, W, 3); 11-pixel Gaussian windows."""
    image, truth = image.movedim(-1, 0)[None], truth.movedim(-1, 0)[None]
    return structural_similarity_index_measure(image, truth, data_range=1.0)  # type: ignore[return-value]


@cache
def _lpips_network() -> LearnedPerceptualImagePatchSimilarity | None:
    """The LPIPS network, or None (said once) where building it would have to download weights."""
    weights = Path(torch.hub.get_dir()) / "checkpoints" / _ALEXNET_WEIGHTS
    if not weights.exists():
        CONSOLE.print(f"LPIPS is not reported: its AlexNet weights are not on disk (they would lie at {weights}).")
        return None
    return LearnedPerceptualImagePatchSimilarity(normalize=True).eval()


def image_metrics(image: Tensor, truth: Tensor) -> dict[str, float]:
    """psnr, ssim and, where its weights are on disk, lpips of images in [0, 1], shape (H, W, 3)."""
    metrics = {"psnr": float(psnr(image, truth)), "ssim": float(ssim(image, truth))}
    network = _lpips_network()
    if network is not None:
        pair = [x.movedim(-1, 0)[None].clamp(0, 1) for x in (image, truth)]
        metrics["lpips"] = float(network.to(image.device)(*pair))
    return metrics
