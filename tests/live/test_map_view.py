"""What nerfstudio's viewer is given to show of a growing map, with a map that is known in closed form."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.depth_scenes import ring_of_cameras, sphere_depths
from support.fake_page import Page, make_viewer
from torch import nn

from eugen_fields.data.depth.depth_streams import DepthStream
from eugen_fields.live.map_frames import MapFrames
from eugen_fields.live.map_view import MapView
from eugen_fields.live.refresh import Refresh
from eugen_fields.live.slices import sign_changes, slice_colors, slice_points
from eugen_fields.mapping.frame_clock import FrameClock
from eugen_fields.models.isdf import ISDFModelConfig
from eugen_fields.sampling import SeenCells

RADIUS, CENTER = 0.5, (0.0, 0.0, 0.0)
AABB = torch.tensor([[-1.6, -1.2, -1.0], [1.4, 1.2, 0.8]])
WIDTH, HEIGHT = 48, 36
VIEWER_SCALE = 10.0


class Ball(nn.Module):
    """The signed distance to a sphere, as a field."""

    aabb: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("aabb", AABB)
        self.trunk = SimpleNamespace(multiplications=lambda: 1234)
        self.times_folded = 0

    def folded(self) -> Ball:
        self.times_folded += 1
        return self

    def evaluate(self, points: torch.Tensor) -> torch.Tensor:
        return (points - points.new_tensor(CENTER)).norm(dim=-1) - RADIUS

    def sdf_and_gradient(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        away = points - points.new_tensor(CENTER)
        return self.evaluate(points), away / away.norm(dim=-1, keepdim=True)


def make_stream(count: int = 8) -> DepthStream:
    poses = ring_of_cameras(count, 1.1)
    intrinsics = torch.tensor([[36.0, 36.0, WIDTH / 2, HEIGHT / 2]]).expand(count, 4)
    depths = sphere_depths(poses, intrinsics, HEIGHT, WIDTH, RADIUS)
    times = torch.arange(count, dtype=torch.float64)
    return DepthStream(poses, intrinsics, times, WIDTH, HEIGHT, [], None, 1.0, depths=depths)


def make_clock(count: int = 8, current: int = 0, keyframes: tuple[int, ...] = (0,), **settings: Any) -> FrameClock:
    clock = FrameClock(timestamps=list(range(count)), **settings)
    clock.current, clock.keyframes = current, list(keyframes)
    return clock


def make_view(clock: FrameClock) -> tuple[MapView, Page]:
    """A view that is set up, without a thread that updates it."""
    stream, page = make_stream(), Page()
    seen = SeenCells(AABB)
    for frame in clock.known_frames():
        seen.add(stream.points(frame))
        seen.look(stream.depth(frame), stream.intrinsics[frame], stream.poses[frame])
    field = Ball()
    model: Any = SimpleNamespace(
        field=field,
        seen=seen,
        device=torch.device("cpu"),
        config=ISDFModelConfig(),
        networks=lambda: {"field": field},
    )
    manager: Any = SimpleNamespace(clock=clock, stream=stream)
    view, viewer = MapView(model, manager), make_viewer(page)
    view._setup(viewer)
    view._frames = MapFrames(viewer, manager)
    return view, page


def test_the_mesh_lies_on_the_surface_in_viewer_units() -> None:
    view, page = make_view(make_clock(keyframes=tuple(range(8))))
    page.clients = {0: None}
    view.update()
    mesh = page.shown["/map/mesh"]
    points, faces = mesh.vertices / VIEWER_SCALE, mesh.faces
    np.testing.assert_allclose(np.linalg.norm(points - CENTER, axis=1), RADIUS, atol=3e-3)
    corners = points[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normals * (corners.mean(axis=1) - CENTER)).sum(axis=1) > 0).mean() > 0.99  # towards free space
    area = np.linalg.norm(normals, axis=1).sum() / 2
    assert area == pytest.approx(4 * np.pi * RADIUS**2, rel=0.05)


def test_what_was_not_seen_is_not_in_the_mesh() -> None:
    view, page = make_view(make_clock())
    page.clients = {0: None}
    view.update()
    toward = view.manager.stream.poses[0, :3, 3].numpy()
    along = page.shown["/map/mesh"].vertices / VIEWER_SCALE @ (toward / np.linalg.norm(toward))
    assert along.min() > 0.0 and along.max() == pytest.approx(RADIUS, abs=0.01)


def test_the_slice_lies_at_its_height_and_is_cut_to_what_was_looked_through() -> None:
    view, page = make_view(make_clock())
    page.clients = {0: None}
    page.shown["Slice height (m)"].value = -0.25
    view.update()
    shown = page.shown["/map/slice"]
    middle, extent = AABB.mean(dim=0), AABB[1] - AABB[0]
    expected = VIEWER_SCALE * np.array([middle[0], middle[1], -0.25])
    np.testing.assert_allclose(shown.position, expected, atol=1e-5)
    assert (shown.render_width, shown.render_height) == pytest.approx((VIEWER_SCALE * extent[:2]).tolist())
    alpha = shown.image[..., 3] > 0
    assert 0.02 < alpha.mean() < 0.4
    camera = view.manager.stream.poses[0, :3, 3]  # on the x axis: only its side of the ball was seen
    columns = alpha.any(axis=0).nonzero()[0]
    x = float(AABB[0, 0]) + (columns + 0.5) / alpha.shape[1] * float(extent[0])
    assert float(camera[0]) > 0 and float(x.min()) > -0.1


def test_nothing_is_evaluated_while_no_page_is_open() -> None:
    view, page = make_view(make_clock())
    field: Any = view.model.field
    folded = field.times_folded
    view.update()
    assert field.times_folded == folded and "/map/mesh" not in page.shown
    page.clients = {0: None}
    view.update()
    assert field.times_folded > folded


def test_the_boxes_hide_and_show() -> None:
    view, page = make_view(make_clock())
    page.clients = {0: None}
    view.update()
    page.shown["Mesh"].value = False
    page.shown["Slice"].value = False
    view.update()
    assert not page.shown["/map/mesh"].visible and not page.shown["/map/slice"].visible
    page.shown["Mesh"].value = True
    view.update()
    assert page.shown["/map/mesh"].visible


def test_moving_the_slider_moves_the_slice_at_once() -> None:
    view, page = make_view(make_clock())
    page.clients = {0: None}
    view.update()
    before, mesh = page.shown["/map/slice"], page.shown["/map/mesh"]
    slider = page.shown["Slice height (m)"]
    slider.value = 0.4
    slider.callback(None)
    view.update()
    assert page.shown["/map/slice"] is not before and page.shown["/map/slice"].position[2] == pytest.approx(4.0)
    assert page.shown["/map/mesh"] is mesh
    page.shown["Refresh mesh"].callback(None)
    view.update()
    assert page.shown["/map/mesh"] is not mesh


def test_the_card_says_what_the_map_is_and_where_the_stream_is() -> None:
    view, page = make_view(make_clock(current=4, keyframes=(0, 2)))
    view.manager.clock.skipped = 1
    view.update()
    text = page.shown["card"].content
    for part in ("eugen", "1,234", "5 of 8", "**keyframes** 2", "**skipped frames** 1", "**step** 70"):
        assert part in text, text


def test_the_frusta_follow_the_clock() -> None:
    page = Page()
    clock, stream = make_clock(keyframes=()), make_stream()
    clock.current = -1
    viewer = make_viewer(page, drawn=range(0, 8, 2))  # of a long stream nerfstudio draws only some
    manager: Any = SimpleNamespace(clock=clock, stream=stream)
    frames = MapFrames(viewer, manager)

    def shown() -> set[int]:
        return {frame for frame, handle in viewer.camera_handles.items() if handle.visible}

    assert shown() == set()
    frames.update()
    assert shown() == set() and "/map/current_frame" not in page.shown
    clock.current, clock.keyframes = 3, [0, 3]
    frames.update()
    assert shown() == {0, 3}
    current = page.shown["/map/current_frame"]
    np.testing.assert_allclose(current.position, VIEWER_SCALE * stream.poses[3, :3, 3].numpy(), rtol=1e-5)
    clock.current = 5
    frames.update()
    np.testing.assert_allclose(current.position, VIEWER_SCALE * stream.poses[5, :3, 3].numpy(), rtol=1e-5)
    assert shown() == {0, 3} and current.visible

    viewer.hide_images.visible = False  # as "Hide Train Cams" leaves it
    viewer.set_camera_visibility(False)
    clock.keyframes = [0, 3, 6]
    frames.update()
    assert shown() == set()
    viewer.set_camera_visibility(True)
    assert shown() == {0, 3, 6}
    clock.ended = True
    frames.update()
    assert not current.visible


def test_free_space_is_blue_and_what_is_behind_surfaces_is_red() -> None:
    points = slice_points(AABB, 0.0, 120)
    sdf = Ball().evaluate(points).numpy()
    image = slice_colors(sdf, np.ones_like(sdf, dtype=bool), 1.0).astype(int)
    zero = sign_changes(sdf)
    red, blue = image[..., 0], image[..., 2]
    assert (blue[(sdf > 0) & ~zero] > red[(sdf > 0) & ~zero]).all()
    assert (red[(sdf < 0) & ~zero] > blue[(sdf < 0) & ~zero]).all()
    assert image[zero][:, :3].max() < 60 and image[~zero][:, :3].sum(axis=1).min() > 200
    ring = np.abs(sdf[zero])
    assert len(ring) > 50 and ring.max() < 3.0 / 120 * 1.5
    assert (image[..., 3] == 255).all()
    assert not slice_colors(sdf, np.zeros_like(sdf, dtype=bool), 1.0)[..., 3].any()


def test_rows_of_a_slice_go_along_y_and_columns_along_x() -> None:
    points = slice_points(AABB, 0.25, 30)
    assert points.shape == (24, 30, 3) and bool((points[..., 2] == 0.25).all())
    spacing = 0.1
    torch.testing.assert_close(points[0, 0], torch.tensor([-1.55, -1.15, 0.25]))
    torch.testing.assert_close(points[3, 5] - points[0, 0], torch.tensor([5 * spacing, 3 * spacing, 0.0]))


def test_refreshes_take_a_tenth_of_the_time_unless_they_are_asked_for() -> None:
    now = [100.0]
    refresh = Refresh(now=lambda: now[0], busy=lambda: now[0])
    assert refresh.due(0)
    with refresh.made(0):
        now[0] += 2.0
    assert not refresh.due(0) and not refresh.due(5)
    now[0] += 17.9
    assert not refresh.due(5)
    now[0] += 0.2
    assert refresh.due(5) and not refresh.due(0)  # the same map need not be made again
    with refresh.made(5):
        refresh.asked = True  # meanwhile
    assert refresh.due(5)
