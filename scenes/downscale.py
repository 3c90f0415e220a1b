#!/usr/bin/env python3
"""Shrink a scene in the Blender-synthetic layout: `python scenes/downscale.py SRC DST --factor 2`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from capture.layout import SPLITS, image_path, read_rgba, read_transforms, transforms_path, write_json, write_rgba
from console import SceneError, run
from tqdm import tqdm


def area_mean(image: np.ndarray, factor: int) -> np.ndarray:
    """Mean over factor x factor blocks in premultiplied alpha, so that hidden colours do not bleed into edges.

    (height, width, 4) uint8, straight alpha -> (height / factor, width / factor, 4) uint8, straight alpha.
    """
    height, width, _ = image.shape
    blocks = image.reshape(height // factor, factor, width // factor, factor, 4).astype(np.float64)
    alpha = blocks[..., 3:]
    weight = alpha.sum(axis=(1, 3))
    colour = (blocks[..., :3] * alpha).sum(axis=(1, 3)) / np.maximum(weight, 1)  # where the weight is 0, so is the sum
    rounded = np.rint(np.concatenate([colour, weight / factor**2], axis=-1))
    rounded[rounded[..., 3] == 0] = 0  # an invisible pixel carries no colour
    return rounded.astype(np.uint8)


def downscale_scene(source: Path, target: Path, factor: int) -> None:
    """Write the scene at `source` to `target`, its images `factor` times smaller and its cameras unchanged.

    The field of view does not depend on the image size, so the transforms are copied as they are, after their images.
    """
    if factor < 1:
        raise SceneError(f"--factor {factor}: give a whole number of pixels, 1 or more")
    if source.resolve() == target.resolve():
        raise SceneError(f"SRC and DST are both {source}; give another DST, the originals are not overwritten")
    scenes = {split: read_transforms(source, split) for split in SPLITS if transforms_path(source, split).exists()}
    if not scenes:
        raise SceneError(f"{source} holds no transforms_train.json, transforms_val.json or transforms_test.json")
    with tqdm(total=sum(len(scene["frames"]) for scene in scenes.values()), unit="image") as progress:
        for split, transforms in scenes.items():
            for frame in transforms["frames"]:
                image = read_rgba(image_path(source, frame))
                height, width, _ = image.shape
                if height % factor or width % factor:
                    size = f"{width}x{height}"
                    raise SceneError(f"{image_path(source, frame)} is {size}; --factor {factor} does not divide that")
                write_rgba(image_path(target, frame), area_mean(image, factor))
                progress.update()
            write_json(transforms_path(target, split), transforms)


def main(
    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SRC")],
    target: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DST")],
    factor: int = 2,
) -> None:
    """Shrink a scene in the Blender-synthetic layout by an area mean in premultiplied alpha.

    Args:
        source: Folder of the scene to read: transforms_{train,val,test}.json and the RGBA PNGs they name.
        target: Folder to write; images and transforms already there are overwritten.
        factor: How many pixels of SRC, along each side, make one of DST; it must divide the image size.
    """
    downscale_scene(source, target, factor)


if __name__ == "__main__":
    run(lambda: tyro.cli(main))
