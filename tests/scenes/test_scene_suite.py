"""render_suite.py: what is in the suite, what it renders and what it refuses; and the scenes of it that ship."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FURNITURE = Path("/usr/share/sweethome3d/furniture")


@pytest.fixture
def suite(load):
    return load("render_suite")


def test_the_suite_is_a_dozen_of_different_models_each_with_its_reason(suite):
    assert len(suite.SUITE) == 12
    for values in zip(*((entry.name, entry.model, entry.why) for entry in suite.SUITE)):
        assert len(set(values)) == 12 and all(values)


def test_list_shows_every_scene_with_its_model_and_reason(command, suite):
    process = command("render_suite.py", "--list")
    assert process.returncode == 0
    lines = process.stdout.splitlines()
    assert len(lines) == 12
    for entry, line in zip(suite.SUITE, lines):
        assert line.startswith(entry.name) and entry.model in line and line.endswith(entry.why)


@pytest.mark.skipif(not list(FURNITURE.glob("*.sh3f")), reason="no catalogue: apt-get install sweethome3d-furniture")
def test_every_model_is_in_the_catalogue_and_in_the_public_domain(suite, load):
    catalogue = load("shapes.catalogue")
    models = catalogue.find_models(FURNITURE)
    for entry in suite.SUITE:
        assert catalogue.choose_model(models, f"{suite.CATALOGUE}/{entry.model}").license == "Public domain"


def test_every_scene_gets_a_folder_and_its_own_settings(suite, load, catalogues, tmp_path, monkeypatch):
    entries = (
        suite.Entry("small", "threeBoxes", "small", suite.Look(radius=0.3)),
        suite.Entry("shiny", "four_boxes", "shiny"),
    )
    rendered = []
    monkeypatch.setattr(suite, "SUITE", entries)
    monkeypatch.setattr(suite, "CATALOGUE", "Handmade")
    monkeypatch.setattr(load("render"), "render_scene", lambda *job: rendered.append(job))
    suite.main(suite.Settings(output=tmp_path / "suite", catalogues=catalogues, train=5))
    assert [(output, model.name) for _, output, model in rendered] == [
        (tmp_path / "suite" / "small", "threeBoxes"),
        (tmp_path / "suite" / "shiny", "four_boxes"),
    ]
    assert [(settings.radius, settings.train, settings.size) for settings, _, _ in rendered] == [
        (0.3, 5, 200),
        (1.2, 5, 200),
    ]
    rendered.clear()
    suite.main(suite.Settings(output=tmp_path / "suite", catalogues=catalogues, only=("shiny",)))
    assert [model.name for _, _, model in rendered] == ["four_boxes"]


def test_errors_are_one_line_and_come_before_the_first_render(fails, catalogues, tmp_path):
    here = ("--output", tmp_path / "suite", "--catalogues", catalogues)
    assert "--output" in fails("render_suite.py")
    assert "there are thin, tiny" in fails("render_suite.py", *here, "--only", "thick")
    assert "--size 0" in fails("render_suite.py", *here, "--size", 0)
    assert "no model is called" in fails("render_suite.py", *here)
    assert "apt-get install sweethome3d-furniture" in fails("render_suite.py", "-o", "suite", "--catalogues", tmp_path)
    assert not (tmp_path / "suite").exists()


@pytest.fixture(scope="module")
def hard():
    """The views of the three scenes that ship: (25, 64, 64, 4) in [0, 1] by name."""
    folder = Path(__file__).parents[2] / "scenes" / "hard"
    counts = {"train": 20, "val": 2, "test": 3}
    views = {}
    for scene in ("thin", "tiny", "white"):
        paths = [folder / scene / split / f"r_{number}.png" for split in counts for number in range(counts[split])]
        views[scene] = np.stack([np.asarray(Image.open(path)) for path in paths]) / 255
        for split, count in counts.items():
            frames = json.loads((folder / scene / f"transforms_{split}.json").read_text())["frames"]
            assert [frame["file_path"] for frame in frames] == [f"./{split}/r_{number}" for number in range(count)]
        assert json.loads((folder / scene / "render.json").read_text())["license"] == "Public domain"
    return views


def test_the_scenes_that_ship_are_as_hard_as_their_names_say(hard):
    assert all(views.shape == (25, 64, 64, 4) for views in hard.values())
    alpha = {scene: views[..., 3] for scene, views in hard.items()}
    assert 0 < alpha["tiny"].mean() < 0.02 < 0.03 < alpha["thin"].mean() < alpha["white"].mean() < 0.5
    inner = {  # share of what is seen that is left when a border of one pixel is taken off
        scene: np.minimum.reduce([np.roll(a, shift, axis) for axis in (1, 2) for shift in (-1, 0, 1)]).sum() / a.sum()
        for scene, a in alpha.items()
    }
    assert inner["thin"] < 0.4 and inner["white"] > 0.7
    white = hard["white"]
    assert np.average(white[..., :3].min(axis=-1), weights=white[..., 3]) > 0.8
