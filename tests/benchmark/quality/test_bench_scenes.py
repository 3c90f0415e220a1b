"""eugen-bench scenes: what it finds, trains, writes, resumes, marks as collapsed and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.helpers import here, write_sphere_scene

from eugen_fields.benchmark.quality.scenes.scenes import Scenes, find_scenes, has_collapsed
from eugen_fields.benchmark.quality.scenes.scenes_report import draw, markdown_table
from eugen_fields.benchmark.quality.train import opacities
from eugen_fields.benchmark.quality.trial import Trial
from eugen_fields.errors import InputError

SMALL = ("num_layers=2", "layer_width=16", "num_features=4", "grid_resolution=16", "samples_per_diagonal=64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two scenes, of 24x24 pixels each."""
    folder = tmp_path_factory.mktemp("suite")
    for name in ("ball", "marble"):
        write_sphere_scene(folder / name, train=4)
    return folder


def bench(folder: Path, place: Path, **options) -> Scenes:
    settings = {"layers": ("dense", "prp:rank=1"), "options": SMALL, "steps": 6, "size": 12} | options
    return Scenes(scene=(folder,), output=place / "runs", json=place / "scenes.json", **settings)


def scores(psnr: float) -> dict:
    """What a training measures."""
    facts = {"trained_steps": 400, "train_seconds": 20.0, "psnr": psnr, "ssim": 0.9, "empty_psnr": 12.0}
    return facts | {"opacity": 0.9, "fog": 0.01, "collapsed": False, "recoveries": 0, "curve": []}


def run(scene: str, layer: str, psnr: float, **changes) -> dict:
    """An entry of the JSON file."""
    key = {"scene": scene, "width": 100, "method": "eugen-nerf-tiny", "layer": layer, "options": [], "seed": 0}
    return key | scores(psnr) | changes


@pytest.mark.e2e
def test_every_network_is_trained_on_every_scene_once(folder: Path, tmp_path: Path, capsys) -> None:
    scenes = bench(folder, tmp_path)
    scenes.main()
    text = scenes.json.read_text()
    runs = json.loads(text)["runs"]
    layers = ("dense", "prp:rank=1")
    assert [(run["scene"], run["layer"]) for run in runs] == [(s, x) for s in ("ball", "marble") for x in layers]
    for entry in runs:
        assert entry["trained_steps"] == entry["steps"] == 6 and entry["width"] == 12 and entry["seed"] == 0
        assert 0 < entry["psnr"] < 60 and -1 <= entry["ssim"] <= 1 and entry["train_seconds"] > 0
        assert 0 <= entry["opacity"] <= 1 and 0 <= entry["fog"] <= 1 and entry["recoveries"] == 0
        assert entry["collapsed"] == has_collapsed(entry)
        assert "camera_res_scale_factor: 0.5" in (Path(entry["run"]) / "config.yml").read_text()
    table = capsys.readouterr().out
    assert "| scene | background alone | dense | prp:rank=1 |" in table and "\n| ball |" in table
    assert scenes.json.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    scenes.main()
    assert scenes.json.read_text() == text


def test_a_call_that_was_broken_off_goes_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []

    def train(self: Trial, seed: int, *_: object) -> dict:
        if len(trained) == 3 and seed == 0:
            raise KeyboardInterrupt
        trained.append((seed, self.scene.name, self.method, self.layer))
        return scores(20.0)

    monkeypatch.setattr(Trial, "run", train)
    methods = ("eugen-nerf-tiny", "eugen-mipnerf-tiny")
    scenes = bench(folder, tmp_path, seed=(0, 1), method=methods, layers=("dense",), options=())
    with pytest.raises(KeyboardInterrupt):
        scenes.main()
    assert len(json.loads(scenes.json.read_text())["runs"]) == 3 and not list(tmp_path.glob("*.part"))
    before = list(trained)
    monkeypatch.setattr(Trial, "run", lambda self, seed, *_: train(self, seed + 10))
    scenes.main()
    assert len(trained) == 8 and trained[:3] == before and len(set(trained)) == 8
    entries = json.loads(scenes.json.read_text())["runs"]
    assert [entry["seed"] for entry in entries] == [0] * 4 + [1] * 4


def test_folders_are_scenes_or_hold_some(folder: Path) -> None:
    both = [folder.resolve() / name for name in ("ball", "marble")]
    assert find_scenes((folder,)) == both
    assert find_scenes((folder / "marble", folder / "ball", folder / "marble")) == both[::-1]


def test_folders_that_will_not_do_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    write_sphere_scene(tmp_path / "others" / "ball", train=1)
    for asked, words in {
        (tmp_path / "none",): f"{tmp_path / 'none'}: there is no such folder",
        (tmp_path / "empty",): "transforms_train.json or transforms.json",
        (folder, tmp_path / "others"): "have one name",
    }.items():
        with pytest.raises(InputError) as caught:
            find_scenes(asked)
        assert words in caught.value.message
    result = here("eugen-bench", "scenes", "--scene", tmp_path / "empty", "--json", tmp_path / "scenes.json")
    assert result.returncode == 1 and result.stderr.startswith("error: --scene") and "\n" not in result.stderr.strip()
    assert not (tmp_path / "scenes.json").exists()


def test_sizes_and_layers_are_checked_before_anything_is_trained(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trial, "run", lambda *_: pytest.fail("it trains"))
    for options, words in (
        ({"size": 5}, "--size 5: images of"),
        ({"layers": ("dense", "sparse")}, "there is no sparse"),
        ({"layers": ()}, "--layers: give at least one"),
        ({"seed": ()}, "--seed: give at least one"),
        ({"steps": 0}, "--steps 0: it must be at least 1"),
        ({"options": ("num_layers",)}, "give name=value"),
    ):
        with pytest.raises(InputError) as caught:
            bench(folder, tmp_path, **options).main()
        assert words in caught.value.message
    assert not (tmp_path / "scenes.json").exists()


def test_a_damaged_or_foreign_results_file_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "scenes.json"
    for text in ("{", '{"runs": 3}', '{"environment": {}, "runs": [{"layer": "dense", "psnr": 20.0}]}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"--json .*scenes\.json"):
            bench(folder, tmp_path).main()
        assert path.read_text() == text


@pytest.mark.parametrize(
    ("changes", "collapsed"),
    [
        ({}, False),
        ({"psnr": 12.9}, True),
        ({"psnr": 13.1}, False),
        ({"psnr": float("nan")}, True),
        ({"opacity": 0.02}, True),
        ({"fog": 0.7}, True),
    ],
)
def test_a_run_that_shows_nothing_has_collapsed(changes: dict, collapsed: bool) -> None:
    assert has_collapsed(run("ball", "dense", 25.0) | changes) is collapsed


def test_opacity_is_of_what_an_image_shows_and_fog_of_the_rest() -> None:
    image = torch.rand(4, 6, 4)
    image[..., 3] = 0.0
    image[:2, :, 3] = 1.0
    alpha = image[..., 3:]
    assert opacities(alpha, image) == {"opacity": 1.0, "fog": 0.0}
    assert opacities(1.0 - alpha, image) == {"opacity": 0.0, "fog": 1.0}
    assert opacities(torch.full_like(alpha, 0.25), image[..., :3]) == {"opacity": 0.25, "fog": 0.0}


def test_the_table_has_means_over_seeds_and_scenes_and_marks_what_collapsed(tmp_path: Path) -> None:
    runs = [
        run("ball", "dense", 20.0),
        run("ball", "dense", 21.0, seed=1),
        run("ball", "eugen", 12.1, collapsed=True),
        run("ball", "eugen", 24.1, seed=1),
        run("marble", "dense", 30.0, recoveries=2),
        run("marble", "eugen", 28.0),
    ]
    lines = markdown_table(runs).splitlines()
    assert lines[0] == "PSNR (dB), 400 steps, images 100 wide:"
    assert "| ball | 12.00 | 20.50 | 18.10 (1 of 2 collapsed) |" in lines
    assert "| marble | 12.00 | 30.00 | 28.00 |" in lines and "| mean | 12.00 | 25.25 | 23.05 |" in lines
    assert "| collapsed |  | 0 of 3 | 1 of 3 |" in lines and "| recoveries |  | 2 | 0 |" in lines
    one_more = markdown_table([*runs, run("rock", "dense", 10.0)])
    assert "| rock | 12.00 | 10.00 |  |" in one_more
    assert "| mean of scenes with all networks | 12.00 | 25.25 | 23.05 |" in one_more
    apart = markdown_table([*runs, run("ball", "dense", 10.0, trained_steps=100)])
    assert apart.count("| scene |") == 2 and "PSNR (dB), 100 steps, images 100 wide:" in apart
    methods = markdown_table([*runs, run("ball", "dense", 10.0, method="eugen-mipnerf-tiny")])
    assert "| eugen-nerf-tiny, dense | eugen-nerf-tiny, eugen | eugen-mipnerf-tiny, dense |" in methods
    draw(runs, tmp_path / "scenes.png")
    assert (tmp_path / "scenes.png").read_bytes().startswith(b"\x89PNG")
