"""Who is told how far a computation is, and what."""

from __future__ import annotations

import pytest
import torch

from eugen_fields.meshing.extraction.marching_cubes import extract_mesh
from eugen_fields.progress import counted
from eugen_fields.sampling import OccupancyGrid

CUBE = torch.tensor([[-1.0] * 3, [1.0] * 3])


def ball(points: torch.Tensor) -> torch.Tensor:
    return 0.5 - points.norm(dim=-1)


def test_shares_rise_from_nothing_to_all() -> None:
    told: list[tuple[str, float]] = []
    extract_mesh(ball, CUBE, 16, 0.0, progress=lambda what, share: told.append((what, share)))
    OccupancyGrid(CUBE, 8, 0.1).fill(ball, chunk_size=100, progress=lambda what, share: told.append((what, share)))
    for name in ("Finding the surface", "Finding occupied space"):
        shares = [share for what, share in told if what == name]
        assert shares[0] == 0.0 and shares[-1] == pytest.approx(1.0) and shares == sorted(shares)
        assert len(shares) > 10


def test_who_is_told_may_end_it() -> None:
    def stop(what: str, share: float) -> None:
        if share > 0.3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_mesh(ball, CUBE, 16, 0.0, progress=stop)


@pytest.mark.parametrize("progress", [True, False])
def test_without_a_terminal_nothing_is_printed(progress: bool, capfd: pytest.CaptureFixture[str]) -> None:
    with counted(progress, "Counting", 3, "things") as advance:
        advance(3)
    assert capfd.readouterr() == ("", "")


def test_nothing_at_all_is_done_at_once() -> None:
    told: list[float] = []
    with counted(lambda what, share: told.append(share), "Nothing", 0, "things"):
        pass
    assert told == [1.0]
