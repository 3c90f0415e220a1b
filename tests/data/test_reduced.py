"""Views that are scored at a fraction of their size: what they hold, and where their cameras look."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from support.helpers import write_capture_scene

from eugen_fields.data.multiscale import MultiScaleDataset, area_average
from eugen_fields.data.reduced import ReducedViews, whole_factor


def dataset(folder: Path, *, size: int = 24, num_scales: int = 1, **camera) -> MultiScaleDataset:
    scene = write_capture_scene(folder / "scene", size=size, count=3)
    path = scene / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | camera))
    outputs = NerfstudioDataParserConfig(data=scene, eval_mode="all").setup().get_dataparser_outputs("train")
    return MultiScaleDataset(outputs, num_scales=num_scales)


@pytest.mark.parametrize("size", [(1080, 1920), (4032, 3024), (200, 200), (640, 481), (3, 5000), (7, 7)])
@pytest.mark.parametrize("limit", [256, 40_000, 200_000, 10**9])
def test_the_factor_is_the_smallest_that_fits(size: tuple[int, int], limit: int) -> None:
    def left(factor: int) -> int:
        return (size[0] // factor) * (size[1] // factor)

    factor = whole_factor(*size, limit)
    assert factor >= 1 and (factor == 1 or left(factor - 1) > limit)
    assert left(factor) <= limit or factor == min(size)
    assert min(size) // factor >= 1


def test_phones_are_scored_at_a_quarter_and_zero_is_no_limit() -> None:
    assert whole_factor(1080, 1920, 200_000) == 4
    assert whole_factor(1080, 1920, 0) == 1


def test_small_views_are_those_of_the_data_set(tmp_path: Path) -> None:
    full = dataset(tmp_path)
    views = ReducedViews(full, 24 * 24)
    assert views.cameras is full.cameras and len(views) == len(full)
    assert torch.equal(views[1]["image"], full[1]["image"])
    assert views.summary() == "Scored in full, at 24x24 pixels."


def test_a_pixel_is_the_mean_of_a_square_and_the_rest_is_left_out(tmp_path: Path) -> None:
    full = dataset(tmp_path, size=26)
    views = ReducedViews(full, 40)
    assert views.factors.tolist() == [4, 4, 4]
    view, image = views[2]["image"], full[2]["image"]
    assert view.shape == (6, 6, 3)
    torch.testing.assert_close(view[5, 2], image[20:24, 8:12].mean(dim=(0, 1)))
    torch.testing.assert_close(view, area_average(image[:24, :24], 4))
    assert views.sizes() == {"scored_width": 6.0, "scored_height": 6.0, "full_width": 26.0, "full_height": 26.0}
    assert views.summary() == "Scored at 6x6 pixels: views of 26x26 are divided by 4 along each side."


@pytest.mark.parametrize("lens", [{}, {"k1": -0.1, "k2": 0.02, "p1": 0.001}], ids=["pinhole", "distorted"])
def test_a_pixel_looks_where_the_middle_of_its_square_does(lens: dict[str, float], tmp_path: Path) -> None:
    full = dataset(tmp_path, size=26, cx=12.2, cy=13.7, **lens)
    views = ReducedViews(full, 170)
    assert views.factors.tolist() == [2, 2, 2]
    assert views.cameras.width.flatten().tolist() == views.cameras.height.flatten().tolist() == [13] * 3
    rows, columns = torch.meshgrid(torch.arange(13) + 0.5, torch.arange(13) + 0.5, indexing="ij")
    places = torch.stack([rows, columns], dim=-1)
    small = views.cameras.generate_rays(1, coords=places, keep_shape=True)
    large = full.cameras.generate_rays(1, coords=2 * places, keep_shape=True)
    torch.testing.assert_close(small.directions, large.directions, atol=1e-5, rtol=0)
    torch.testing.assert_close(small.origins, large.origins)
    torch.testing.assert_close(small.pixel_area, 4 * large.pixel_area, rtol=0.05, atol=0)
    assert int(full.cameras.width[0]) == 26, "those of the data set stay"


def test_masks_shrink_with_their_images(tmp_path: Path) -> None:
    full = dataset(tmp_path)
    get_data = full.get_data
    mask = torch.ones(24, 24, 1, dtype=torch.bool)
    mask[7, 3] = False
    full.get_data = lambda index, **kind: get_data(index, **kind) | {"mask": mask}  # type: ignore[method-assign]
    small = ReducedViews(full, 150)[0]["mask"]
    assert small.shape == (12, 12, 1) and (~small).nonzero().tolist() == [[3, 1, 0]]


def test_several_scales_are_scored_in_full(tmp_path: Path) -> None:
    full = dataset(tmp_path, num_scales=2)
    views = ReducedViews(full, 256)
    assert views.factors.tolist() == [1] * 6
    assert views.summary() == "Scored in full, at 12x12 to 24x24 pixels."
