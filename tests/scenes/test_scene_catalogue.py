"""catalogue.py: models by name, from .sh3f archives."""

import zipfile

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def catalogue(load):
    return load("shapes.catalogue")


@pytest.fixture
def models(catalogue, catalogues):
    return catalogue.find_models(catalogues)


def test_models_are_found_with_their_credits(models):
    assert [model.qualified_name for model in models] == ["Handmade/four_boxes", "Handmade/threeBoxes"]
    four, three = models
    assert (three.title, three.creator, three.license) == ("Three boxes", "Nobody", "Public domain")
    assert (three.rotation == np.eye(3)).all()
    assert (four.rotation @ [0, 0, 1] == [1, 0, 0]).all()


@pytest.mark.parametrize(
    "name", ["threeBoxes", "threeboxes", "three_boxes", "Handmade/threeBoxes", "handmade/three-boxes"]
)
def test_names_are_forgiving(catalogue, models, name):
    assert catalogue.choose_model(models, name).name == "threeBoxes"


def test_unknown_name_lists_close_ones(catalogue, models, load):
    with pytest.raises(load("console").SceneError, match="close matches: threeBoxes"):
        catalogue.choose_model(models, "treeBoxs")


def test_one_name_in_two_catalogues_asks_which(catalogue, catalogues, load):
    (catalogues / "Twin.sh3f").write_bytes((catalogues / "Handmade.sh3f").read_bytes())
    models = catalogue.find_models(catalogues)
    with pytest.raises(load("console").SceneError, match="say which: Handmade/threeBoxes, Twin/threeBoxes"):
        catalogue.choose_model(models, "threeBoxes")
    assert catalogue.choose_model(models, "Twin/threeBoxes").archive.name == "Twin.sh3f"


def test_textures_are_found_by_the_last_part_of_their_path(catalogue, catalogues):
    with (
        zipfile.ZipFile(catalogues / "Handmade.sh3f", "a") as archive,
        archive.open("handmade/boxes/a b.png", "w") as f,
    ):
        Image.new("RGB", (3, 2), (1, 2, 3)).save(f, format="PNG")
    model = catalogue.find_models(catalogues)[0]
    for name in ("a b.png", "/Users/me/a b.png", "C:\\Documents\\a b.png"):
        image = model.read_image(name)
        assert image.shape == (2, 3, 4) and (image == (1, 2, 3, 255)).all()
    assert model.read_image("c.png") is None


def test_other_files_are_refused(catalogue, catalogues, load):
    (catalogues / "Broken.sh3f").write_text("not a zip archive")
    with pytest.raises(load("console").SceneError, match="Broken.sh3f is not a whole furniture catalogue"):
        catalogue.find_models(catalogues)
