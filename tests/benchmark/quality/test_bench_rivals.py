"""eugen-bench rivals: what races, how it is scored, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from support.helpers import write_sphere_scene
from torchmetrics.image import lpip

from eugen_fields.benchmark.quality.rivals import Rivals
from eugen_fields.benchmark.quality.rivals.entrants import entrant_config, mean_psnr
from eugen_fields.benchmark.quality.rivals.race_report import draw, markdown_table
from eugen_fields.errors import InputError

OURS = "eugen-nerf-tiny:num_layers=2:layer_width=16:grid_resolution=16:samples_per_diagonal=64"
THEIRS = "nerfacto:rays=16:num_levels=2:log2_hashmap_size=6:hidden_dim=8:hidden_dim_color=8"
THEIRS += ":num_proposal_samples_per_ray=8,4:num_nerf_samples_per_ray=4"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sphere_scene(tmp_path_factory.mktemp("race") / "ball", train=4)


def race(scene: Path, place: Path, **options) -> Rivals:
    settings = {"methods": (OURS, THEIRS), "seconds": 0.5, "checkpoints": 2, "views": 1, "pixels": 100} | options
    return Rivals(scene=(scene,), output=place / "runs", json=place / "rivals.json", device="cpu", **settings)


def entry(method: str, points: list[tuple[float, float]], **changes) -> dict:
    """A result of the file: seconds and PSNR of each point of the curve."""
    curve = [{"steps": 10 * i, "seconds": seconds, "psnr": psnr} for i, (seconds, psnr) in enumerate(points, start=1)]
    facts = {"scene": "ball", "method": method, "seed": 0, "budget": 60.0, "trained_steps": 10 * len(points)}
    return facts | {"psnr": points[-1][1], "curve": curve, "parameters": 1234} | changes


@pytest.mark.e2e
def test_ours_and_theirs_train_and_are_scored_on_the_same_pixels(scene: Path, tmp_path: Path, capsys) -> None:
    original = lpip.LearnedPerceptualImagePatchSimilarity
    rivals = race(scene, tmp_path)
    rivals.main()
    text = rivals.json.read_text()
    runs = json.loads(text)["runs"]
    assert [run["method"] for run in runs] == [OURS, THEIRS]
    for run in runs:
        assert 5.0 < run["psnr"] < 60.0 and run["trained_steps"] >= 1 and run["parameters"] > 100
        assert run["curve"][-1]["seconds"] >= 0.5 and run["curve"][-1]["steps"] == run["trained_steps"]
        assert 1 <= len(run["curve"]) <= 2 and run["clock"] == "processor"
    assert runs[0]["parameters"] != runs[1]["parameters"]
    assert lpip.LearnedPerceptualImagePatchSimilarity is original
    assert "| method | parameters | steps | seeds | 0.25 s | 0.5 s |" in capsys.readouterr().out
    rivals.main()
    assert rivals.json.read_text() == text


def test_a_call_that_was_broken_off_goes_on(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raced = []

    def run(self: Rivals, seed: int, scene: Path, method: str) -> dict:
        if len(raced) == 2 and seed == 0:
            raise KeyboardInterrupt
        raced.append((seed, method))
        return {name: value for name, value in entry(method, [(60.0, 20.0)]).items() if name in ("psnr", "curve")} | {
            "trained_steps": 10,
            "parameters": 5,
        }

    monkeypatch.setattr(Rivals, "_race", run)
    methods = ("eugen-nerf-tiny", "eugen-planes-tiny", "nerfacto")
    with pytest.raises(KeyboardInterrupt):
        race(scene, tmp_path, methods=methods).main()
    monkeypatch.setattr(Rivals, "_race", lambda self, seed, scene, method: run(self, seed + 10, scene, method))
    race(scene, tmp_path, methods=methods).main()
    assert raced == [(0, "eugen-nerf-tiny"), (0, "eugen-planes-tiny"), (10, "nerfacto")]


def test_nerfacto_in_a_blender_scene_is_set_up_as_its_documentation_says(scene: Path, tmp_path: Path) -> None:
    model = entrant_config("nerfacto", scene, tmp_path, 0, "cpu").pipeline.model
    assert model.background_color == "white" and model.disable_scene_contraction and model.far_plane == 6.0
    assert model.camera_optimizer.mode == "off"
    (tmp_path / "capture").mkdir()
    (tmp_path / "capture" / "transforms.json").write_text("{}")
    config = entrant_config("nerfacto:rays=341", tmp_path / "capture", tmp_path, 0, "cpu")
    assert config.pipeline.model.far_plane == 1000.0 and not config.pipeline.model.disable_scene_contraction
    assert config.pipeline.datamanager.train_num_rays_per_batch == 341


def test_ours_are_scored_on_all_pixels_as_the_others_are(scene: Path, tmp_path: Path) -> None:
    assert entrant_config("eugen-planes-tiny", scene, tmp_path, 0, "cpu").pipeline.datamanager.eval_pixels == 0  # type: ignore[attr-defined]


def test_scores_are_of_a_grid_of_pixels_over_white() -> None:
    image = torch.rand(30, 40, 4, generator=torch.Generator().manual_seed(0))
    over_white = image[..., :3] * image[..., 3:] + 1.0 - image[..., 3:]
    camera = Cameras(torch.eye(4)[None, :3], fx=40.0, fy=40.0, cx=20.0, cy=15.0, width=40, height=30)
    asked = []

    def render(rays) -> dict:
        asked.append(rays)
        return {"rgb": over_white[::3, ::3] + 0.1}

    class Loader:
        def __len__(self) -> int:
            return 1

        def get_camera(self, index: int) -> tuple:
            return camera, {"image": image}

    model = SimpleNamespace(get_outputs_for_camera_ray_bundle=render)
    manager = SimpleNamespace(fixed_indices_eval_dataloader=Loader())
    pipeline = SimpleNamespace(eval=lambda: None, device="cpu", model=model, datamanager=manager)
    found = mean_psnr(SimpleNamespace(pipeline=pipeline), views=0, pixels=140)  # type: ignore[arg-type]
    clipped = (over_white[::3, ::3] + 0.1).clamp(max=1.0)
    assert found == pytest.approx(-10 * float((clipped - over_white[::3, ::3]).square().mean().log10()), abs=1e-4)
    assert asked[0].shape == (10, 14)
    whole = camera.generate_rays(camera_indices=0, keep_shape=True)
    torch.testing.assert_close(asked[0].directions, whole.directions[::3, ::3])


def test_a_point_stands_below_the_time_that_it_belongs_to(tmp_path: Path) -> None:
    runs = [
        entry("eugen-planes-tiny", [(20.0, 21.0), (40.1, 22.0), (60.0, 23.0)]),
        entry("eugen-planes-tiny", [(20.0, 22.0), (40.1, 24.0), (60.0, 25.0)], seed=1),
        entry("nerfacto", [(39.0, 15.0), (61.0, 16.0)]),
    ]
    table = markdown_table(runs)
    assert "| method | parameters | steps | seeds | 20 s | 40 s | 60 s |" in table
    assert "| 21.50 (21.00 to 22.00) | 23.00 (22.00 to 24.00) | 24.00 (23.00 to 25.00) |" in table
    assert "| nerfacto | 1,234 | 20 | 1 | 15.00 |  | 16.00 |" in table
    draw(runs, tmp_path / "race.png")
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"methods": ("instant-ngp",)}, "there is no instant-ngp; there are"),
        ({"methods": ("nerfacto:depth_of_water=3",)}, "depth_of_water"),
        ({"methods": ("eugen-planes-tiny:rays=3",)}, "rays"),
        ({"methods": ()}, "--methods: give at least one"),
        ({"seconds": 0.0}, "--seconds 0: it must be more than 0"),
        ({"pixels": 0}, "--pixels 0"),
        ({"seed": (-1,)}, "--seed -1"),
    ],
)
def test_wrong_flags_are_named_before_anything_is_trained(
    options: dict, says: str, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rivals, "_race", lambda *_: pytest.fail("it trains"))
    with pytest.raises(InputError) as caught:
        race(scene, tmp_path, **options).main()
    assert says in caught.value.message and not (tmp_path / "rivals.json").exists()
