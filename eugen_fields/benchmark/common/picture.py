"""The side-by-side picture of a run: truth | render | depth | error."""

from __future__ import annotations

from pathlib import Path

import torch
from nerfstudio.utils import colormaps
from PIL import Image, ImageDraw, ImageFont

from eugen_fields.training.trainer import FieldTrainer
from eugen_fields.writing import written_beside

_TITLES = ("truth", "render", "depth", "error (white = 0.2 or more)")
_MARGIN = 24
"""Height of the titles, pixels."""


def comparison_picture(trainer: FieldTrainer, path: Path, num_views: int = 2) -> None:
    """Writes a PNG with one row per test view, each a quarter of the test split after the one before.

    The error is the mean absolute difference over the colour channels, on a scale from 0 (black) to 0.2 (white).
    """
    pipeline = trainer.pipeline
    pipeline.eval()
    views = list(pipeline.datamanager.fixed_indices_eval_dataloader)
    rows = []
    for row in range(min(num_views, len(views))):
        camera, batch = views[row * max(1, len(views) // 4) % len(views)]
        outputs = pipeline.model.get_outputs_for_camera(camera)
        _, images = pipeline.model.get_image_metrics_and_images(outputs, batch)
        truth, render = images["img"].chunk(2, dim=1)
        error = (truth - render).abs().mean(dim=-1, keepdim=True)
        error_image = colormaps.apply_float_colormap((error / 0.2).clamp(0, 1), colormap="inferno")
        rows.append(torch.cat([truth, render, images["depth"], error_image], dim=1))
    pixels = (torch.cat(rows, dim=0).clamp(0, 1) * 255).round().byte().cpu().numpy()
    height, width = pixels.shape[:2]
    sheet = Image.new("RGB", (width, height + _MARGIN), "white")
    sheet.paste(Image.fromarray(pixels), (0, _MARGIN))
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(_TITLES):
        draw.text((column * width // len(_TITLES) + 6, 4), title, fill="black", font=ImageFont.load_default(size=14))
    with written_beside(path) as unfinished:
        sheet.save(unfinished, format="PNG")
