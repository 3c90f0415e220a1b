"""Table and pictures of signed distance runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.distance_truths import write_room

from eugen_fields.benchmark.distance.distance_truth import DistanceTruth
from eugen_fields.benchmark.distance.sdf_errors import sdf_errors
from eugen_fields.benchmark.distance.sdf_report import draw_errors, markdown_table
from eugen_fields.benchmark.distance.slice_picture import draw_slices
from eugen_fields.benchmark.mesh.mesh_errors import mesh_errors
from eugen_fields.data.depth.depth_reading import read_depth_stream
from eugen_fields.data.depth.depth_streams import DepthStream


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> tuple[DistanceTruth, DepthStream]:
    folder = write_room(tmp_path_factory.mktemp("room"))
    return DistanceTruth.load(folder), read_depth_stream(folder)


@pytest.fixture(scope="module")
def runs(room) -> list[dict]:
    """A baseline that knows all, and two seeds that are 2 and 4 cm off."""
    truth, stream = room
    known = torch.arange(len(truth)) % 2 == 0
    mesh = mesh_errors(truth.vertices, truth.triangles, truth, stream, num_samples=500)
    result = [{"name": "TSDF", "errors": sdf_errors(truth.mesh.distance, truth, known=known), "mesh": mesh}]
    for seed, error in enumerate((0.02, 0.04)):
        errors = sdf_errors(lambda points, error=error: truth.mesh.distance(points) + error, truth, known=known)
        steps = [{"frame": frame, "visible_cm": 9.0 - frame + seed, "known_cm": 8.0 - frame} for frame in range(8)]
        result.append({"name": "eugen", "errors": errors, "over_time": steps, "parameters": 12_345, "seconds": 2.5})
    return result


def row(table: str, name: str) -> dict[str, str]:
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    (cells,) = [cells for cells in rows if cells[0] == name]
    assert len(cells) == len(head)
    return dict(zip(head, cells))


def test_the_table_has_a_row_for_each_name_with_mean_and_spread(runs: list[dict]) -> None:
    table = markdown_table(runs)
    assert table.count("\n") == 3
    eugen, tsdf = row(table, "eugen"), row(table, "TSDF")
    assert eugen["visible (cm)"] == "3.00 (2.00 to 4.00)" and eugen["seeds"] == "2" and eugen["parameters"] == "12,345"
    assert eugen["nearest surface seen (cm)"] == "3.00 (2.00 to 4.00)"
    assert tsdf["visible (cm)"] == "0.00" and tsdf["Chamfer (cm)"] == "0.00" and tsdf["within 5 cm"] == "1.000"
    assert eugen["Chamfer (cm)"] == tsdf["parameters"] == tsdf["gradient (1 - cos)"] == "-"
    assert tsdf["collision cost, 1 / 1.5 / 2 m (cm)"] == "0.00 / 0.00 / 0.00"


def test_the_errors_are_drawn_with_and_without_what_is_optional(runs: list[dict], tmp_path: Path) -> None:
    for name, drawn in {"all": runs, "bare": runs[:1], "seeds": runs[1:]}.items():
        path = tmp_path / "plots" / f"{name}.png"
        draw_errors(drawn, path)
        with Image.open(path) as image:
            assert image.width > 1000 and len(np.unique(np.asarray(image.convert("L")))) > 20


def test_a_run_that_diverged_is_drawn_and_tabled(runs: list[dict], room, tmp_path: Path) -> None:
    truth, _ = room
    errors = sdf_errors(lambda points: torch.full_like(points[:, 0], torch.nan), truth)
    lost = [*runs, {"name": "lost", "errors": errors, "over_time": [{"frame": 0, "visible_cm": float("nan")}]}]
    assert row(markdown_table(lost), "lost")["visible (cm)"] == "nan"
    draw_errors(lost, tmp_path / "errors.png")
    assert (tmp_path / "errors.png").stat().st_size > 10_000


def test_slices_show_every_field_beside_the_truth(room, tmp_path: Path) -> None:
    truth, stream = room
    fields = {"exact": truth.mesh.distance, "far": lambda points: truth.mesh.distance(points) + 0.2}
    fields["flat"] = lambda points: torch.ones_like(points[:, 0])
    sizes = []
    for count in (1, 3):
        path = tmp_path / f"{count}.png"
        draw_slices(dict(list(fields.items())[:count]), truth, stream, path, height=1.2, spacing=0.1, num_frames=3)
        with Image.open(path) as image:
            sizes.append(image.size)
    assert sizes[1][0] > 1.5 * sizes[0][0] and sizes[0][1] == sizes[1][1]
