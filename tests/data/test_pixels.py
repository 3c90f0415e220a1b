"""Draws of pixels: fair, never masked out, of the image that they name, and with Mip-NeRF's expected loss."""

from __future__ import annotations

import pytest
import torch
from nerfstudio.data.pixel_samplers import PixelSamplerConfig

from eugen_fields.data.multiscale import shrink_mask
from eugen_fields.data.pixels import AreaPixelSampler, pack_pixels, silhouettes
from eugen_fields.errors import InputError


def numbered(index: int, height: int, width: int, scale: int = 0, mask: torch.Tensor | None = None) -> dict:
    """An image whose pixels hold their own camera, row and column."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([torch.full_like(rows, index), rows, columns], dim=-1).float()
    item = {"image": image, "image_idx": index, "scale": scale}
    return item if mask is None else item | {"mask": mask}


def draw(items: list[dict], rays: int, **options: bool) -> dict[str, torch.Tensor]:
    sampler = AreaPixelSampler(PixelSamplerConfig(), num_rays_per_batch=rays)
    return sampler.sample(pack_pixels(items, **options))


def test_pixels_are_those_that_their_indices_name() -> None:
    torch.manual_seed(0)
    mask = torch.rand(5, 3, 1) < 0.5
    items = [numbered(4, 2, 6), numbered(0, 5, 3, mask=mask), numbered(2, 4, 4, scale=1)]
    batch = draw(items, 999)  # odd, unlike what nerfstudio's sampler can take
    assert torch.equal(batch["image"].long(), batch["indices"])
    assert set(batch["indices"][:, 0].tolist()) == {0, 2, 4}


def test_pixels_of_large_and_small_images_are_equally_likely() -> None:
    torch.manual_seed(0)
    items = [numbered(0, 2, 3), numbered(1, 4, 5), numbered(2, 1, 1)]
    drawn = draw(items, 270_000)["indices"]
    counts = torch.unique(drawn, dim=0, return_counts=True)[1]
    assert len(counts) == 27
    assert (counts - 10_000).abs().max() < 5 * 100, "five standard deviations"


def test_masked_out_pixels_are_never_drawn_and_all_others_are() -> None:
    torch.manual_seed(0)
    masks = [torch.rand(6, 6, 1) < 0.1 for _ in range(3)]
    masks[1][:] = False
    items = [numbered(index, 6, 6, mask=mask) for index, mask in enumerate(masks)]
    drawn = draw(items, 20_000)["indices"]
    expected = {(index, *place) for index, mask in enumerate(masks) for place in mask[..., 0].nonzero().tolist()}
    assert {tuple(place) for place in drawn.tolist()} == {tuple(place) for place in expected}


def test_masks_can_be_ignored() -> None:
    torch.manual_seed(0)
    item = numbered(0, 4, 4, mask=torch.zeros(4, 4, 1, dtype=torch.bool))
    assert len(torch.unique(draw([item], 2000, ignore_mask=True)["indices"], dim=0)) == 16


@pytest.mark.parametrize("masked", [False, True])
def test_the_expected_loss_is_mip_nerfs(masked: bool) -> None:
    """Pixels of all scales pooled, drawn uniformly, losses times area (up to the constant mean area)."""
    torch.manual_seed(0)
    items, area_times_loss, areas = [], 0.0, 0.0
    for scale in range(4):
        for index in range(2):
            loss = torch.rand(8 >> scale, 16 >> scale, 1).expand(-1, -1, 3)
            full = torch.ones(8, 16, 1, dtype=torch.bool)
            full[0, 3 * index] = not masked
            mask = shrink_mask(full, 2**scale)
            items.append({"image": loss, "image_idx": len(items), "scale": scale, "mask": mask})
            area_times_loss += float(4**scale * loss[mask[..., 0]][:, 0].sum())
            areas += 4**scale * int(mask.sum())
    losses = draw(items, 1_000_000)["image"][:, 0]
    deviation = float(losses.std()) / len(losses) ** 0.5
    assert float(losses.mean()) == pytest.approx(area_times_loss / areas, abs=5 * deviation)


def test_scenes_without_a_valid_pixel_are_refused() -> None:
    with pytest.raises(InputError, match="masked out"):
        pack_pixels([numbered(0, 4, 4, mask=torch.zeros(4, 4, 1, dtype=torch.bool))])


def test_images_with_and_without_alpha_do_not_mix() -> None:
    with pytest.raises(InputError, match="alpha"):
        pack_pixels([numbered(0, 4, 4), {"image": torch.rand(4, 4, 4), "image_idx": 1}])


def with_alpha(index: int, visible: list[tuple[int, int]], size: int = 30, scale: int = 0) -> dict:
    """A numbered image that is transparent but for some pixels."""
    item = numbered(index, size, size, scale)
    alpha = torch.zeros(size, size, 1)
    for row, column in visible:
        alpha[row, column] = 0.5
    return item | {"image": torch.cat([item["image"], alpha], dim=-1)}


@pytest.mark.parametrize("least", [0.0, 0.02, 0.3, 1.0])
def test_visible_pixels_and_their_surroundings_get_their_least_share(least: float) -> None:
    """5x5 pixels about a visible one are foreground; within it, and outside of it, all pixels stay equally likely."""
    torch.manual_seed(0)
    sampler = AreaPixelSampler(PixelSamplerConfig(), num_rays_per_batch=40_000)
    sampler.least_foreground = least
    items = [with_alpha(0, [(10, 10)]), with_alpha(1, [(0, 0), (29, 29)]), with_alpha(2, [])]
    drawn = sampler.sample(pack_pixels(items))
    foreground = torch.zeros(3, 30, 30, dtype=torch.bool)
    foreground[0, 8:13, 8:13] = True
    foreground[1, :3, :3] = foreground[1, 27:, 27:] = True
    image, row, column = drawn["indices"].unbind(dim=1)
    hit = foreground[image, row, column]
    natural = float(foreground.float().mean())
    assert float(hit.float().mean()) == pytest.approx(max(natural, least), abs=0.01)
    assert torch.equal(drawn["image"][:, :3].long(), drawn["indices"])
    counts = torch.zeros(3, 30, 30)
    counts.index_put_((image, row, column), torch.ones(len(image)), accumulate=True)
    for where in (foreground, ~foreground):
        mean = counts[where].mean()  # 0 outside of it where the share is 1
        assert float((counts[where] - mean).abs().max()) < 6 * float(mean.sqrt()) + 1


def test_foreground_is_not_drawn_where_it_is_masked_out() -> None:
    torch.manual_seed(0)
    mask = torch.ones(30, 30, 1, dtype=torch.bool)
    mask[:, 10:] = False
    sampler = AreaPixelSampler(PixelSamplerConfig(), num_rays_per_batch=4000)
    sampler.least_foreground = 0.9
    drawn = sampler.sample(pack_pixels([with_alpha(0, [(10, 10)]) | {"mask": mask}]))["indices"]
    assert int(drawn[:, 2].max()) < 10
    assert float((drawn[:, 2] >= 8).float().mean()) > 0.5


def test_silhouettes_are_those_of_the_images() -> None:
    items = [with_alpha(3, [(1, 2)], size=4), with_alpha(1, [(0, 0), (4, 5)], size=6)]
    first, second = silhouettes(pack_pixels(items))  # type: ignore[misc]
    assert first.nonzero().tolist() == [[1, 2]] and first.shape == (4, 4)
    assert second.nonzero().tolist() == [[0, 0], [4, 5]] and second.shape == (6, 6)
    assert silhouettes(pack_pixels([numbered(0, 3, 3)])) is None


def test_what_is_masked_out_may_show_anything() -> None:
    mask = torch.ones(4, 4, 1, dtype=torch.bool)
    mask[3] = False
    first, second = silhouettes(  # type: ignore[misc]
        pack_pixels([with_alpha(0, [(1, 2)], size=4), with_alpha(1, [(0, 0)], size=4) | {"mask": mask}])
    )
    assert first.nonzero().tolist() == [[1, 2]]
    assert second.nonzero().tolist() == [[0, 0], *([3, column] for column in range(4))]
