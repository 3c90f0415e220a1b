"""Runs to field files within budgets, and the commands that write and open them."""

import base64
import json
import shutil
from dataclasses import replace

import pytest
import torch
from support.helpers import here
from support.stored_runs import CONES, cone_run, distance_run, radiance_run
from support.view_helpers import write_run

from eugen_fields import load_field
from eugen_fields.errors import InputError
from eugen_fields.runs import open_run
from eugen_fields.storing import store
from eugen_fields.storing.compression import fidelity
from eugen_fields.storing.compression.budget import Budget
from eugen_fields.storing.opening import is_field_file, open_run_or_file, stored_of
from eugen_fields.storing.store import store_run
from eugen_fields.storing.views import find_views
from eugen_fields.storing.web import check_run
from eugen_viewer.card import summary
from eugen_viewer.opened import OpenedRun
from eugen_viewer.pictures.photos import find_photos

QUIET = {"progress": False, "tune_steps": 0}


@pytest.fixture(autouse=True)
def few_places(monkeypatch):
    """Small fields need fewer places to be compared at."""
    for name, count in (("PIXELS", 3000), ("TUNING_PIXELS", 6000), ("POINTS", 3000), ("TUNING_POINTS", 6000)):
        monkeypatch.setattr(fidelity, f"_{name}", count)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose data is not there."""
    return open_run(write_run(tmp_path_factory.mktemp("runs") / "cups" / "eugen-nerf-tiny" / "now"), "cpu")


@pytest.fixture(scope="module")
def run_with_data(sphere_scene, tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run", data=sphere_scene)


def test_fewer_bits_are_fewer_bytes_and_more_change(run, tmp_path):
    found = [store_run(run, tmp_path / f"{bits}.field", bits=bits, **QUIET) for bits in (8, 6, 5, 4)]
    sizes, changes = ([facts[name] for facts in found] for name in ("bytes", "psnr_of_change"))
    assert sizes == sorted(sizes, reverse=True) and changes == sorted(changes, reverse=True)
    assert len(set(sizes)) == 4 and changes[0] > changes[3] + 12
    for facts in found:
        assert facts["path"].stat().st_size == facts["bytes"]
        assert facts["on"] == "the run's own renders" and facts["why"]
        assert load_field(facts["path"]).facts["measured"] == {
            "on": facts["on"], "psnr_of_change": facts["psnr_of_change"]
        }  # fmt: skip


def test_a_budget_of_bytes_is_kept_and_used(run, tmp_path):
    eight = store_run(run, tmp_path / "8.field", bits=8, **QUIET)
    budget = int(0.7 * eight["bytes"])
    facts = store_run(run, tmp_path / "small.field", max_bytes=budget, **QUIET)
    assert 0.9 * budget < facts["bytes"] <= budget
    plain = store_run(run, tmp_path / "5.field", bits=5, **QUIET)
    roomy = store_run(run, tmp_path / "same.field", max_bytes=plain["bytes"], **QUIET)
    assert roomy["psnr_of_change"] > plain["psnr_of_change"], "precision is not where it matters"


def test_a_budget_is_used_where_fine_tuning_makes_files_too_large(run, tmp_path, monkeypatch):
    budget = int(0.7 * store_run(run, tmp_path / "8.field", bits=8, **QUIET)["bytes"])
    monkeypatch.setattr(Budget, "_tuned", lambda self, result, _: replace(result, bytes=result.bytes + budget))
    facts = store_run(run, tmp_path / "small.field", max_bytes=budget, **QUIET)
    assert 0.9 * budget < facts["bytes"] <= budget


def test_a_budget_that_cannot_be_kept_names_the_smallest(run, tmp_path):
    path = tmp_path / "x.field"
    with pytest.raises(InputError, match="smallest file") as error:
        store_run(run, path, max_bytes=500, **QUIET)
    assert not path.exists()
    smallest = int(error.value.message.partition(" has ")[2].partition(" bytes")[0].replace(",", ""))
    assert store_run(run, path, max_bytes=smallest, **QUIET)["bytes"] <= smallest


def test_a_loss_on_test_views_is_kept_and_used(run_with_data, tmp_path):
    found = store_run(run_with_data, tmp_path / "x.field", max_loss=0.5, **QUIET)
    assert found["on"] == "2 test views" and found["psnr_before"] - found["psnr_after"] <= 0.5 + 1e-3
    assert found["bytes"] < store_run(run_with_data, tmp_path / "z.field", bits=8, **QUIET)["bytes"]
    with pytest.raises(InputError, match="cannot be reached"):
        store_run(run_with_data, tmp_path / "y.field", max_loss=1e-9, **QUIET)


def test_the_psnr_before_is_that_of_the_run(run_with_data, tmp_path):
    from nerfstudio.data.datasets.base_dataset import InputDataset

    from eugen_fields.runs import build_model, read_config
    from eugen_fields.runs.restore import restore_data_parser

    run = open_run(run_with_data, "cpu")
    config = run.folder / "config.yml"
    photos = InputDataset(restore_data_parser(read_config(config), config).setup().get_dataparser_outputs("test"))
    model, found = build_model(run), []
    for index in range(len(photos)):
        outputs = model.get_outputs_for_camera_ray_bundle(photos.cameras.generate_rays(index, keep_shape=True))
        batch = {"image": photos.get_image_float32(index)}
        found.append(float(model.get_metrics_dict(outputs, batch)["psnr"]))
    facts = store_run(run, tmp_path / "x.field", bits=8, **QUIET)
    assert facts["psnr_before"] == pytest.approx(sum(found) / len(found), abs=0.002)
    assert len(load_field(facts["path"]).cameras) == 8


def test_fine_tuning_is_repeatable_and_does_no_harm(run, tmp_path):
    found = [
        store_run(run, tmp_path / f"{index}.field", bits=4, tune_steps=steps, progress=False)
        for index, steps in enumerate((0, 40, 40))
    ]
    assert found[1]["psnr_of_change"] >= found[0]["psnr_of_change"]
    assert found[1]["path"].read_bytes() == found[2]["path"].read_bytes()


def test_distances_are_stored_by_centimetres(tmp_path):
    run = distance_run(tmp_path / "run", layer="eugen", num_features=8)
    facts = store_run(run, tmp_path / "x.field", max_loss=1.5, **QUIET)
    assert 0.007 < facts["distance_change"] <= 0.015 and "near" in facts["on"]
    assert facts["bytes"] < store_run(run, tmp_path / "y.field", bits=8, **QUIET)["bytes"]


@pytest.mark.parametrize("kind", ["planes", "cones along the axes"])
def test_fields_of_cones_are_stored_within_a_loss(kind, tmp_path):
    run = cone_run(tmp_path / "run", **CONES[kind])
    fine = store_run(run, tmp_path / "8.field", bits=8, **QUIET)
    coarse = store_run(run, tmp_path / "4.field", bits=4, **QUIET)
    found = store_run(run, tmp_path / "x.field", max_loss=0.1, **QUIET)
    assert fine["psnr_of_change"] > coarse["psnr_of_change"] + 12 and coarse["bytes"] < fine["bytes"]
    assert found["bytes"] < fine["bytes"] and 50 < found["psnr_of_change"]  # 36 dB less 0.1 is a change of 52.4 dB
    tuned = store_run(run, tmp_path / "t.field", bits=4, tune_steps=10, progress=False)
    assert tuned["psnr_of_change"] >= coarse["psnr_of_change"]


def test_what_is_never_visible_takes_no_bytes(tmp_path):
    """Two runs whose planes differ where nothing is occupied have files of one size."""
    sizes = []
    for noise in (0.0, 0.5):
        run = cone_run(tmp_path / "run", plane_resolutions=(48,), plane_channels=4)
        planes = run.field.position_encoding.planes[0]
        outside = torch.linspace(-1.0, 1.0, 48).abs() > 0.93  # what occupied cells read, and its neighbours, lie within
        planes[:, :, outside] += noise * torch.rand(planes[:, :, outside].shape)
        sizes.append(store_run(run, tmp_path / "x.field", bits=8, **QUIET)["bytes"])
    assert abs(sizes[0] - sizes[1]) < 0.01 * sizes[0]


def test_own_views_look_at_what_the_run_shows(run):
    views = find_views(run)
    assert views.missing and not views.tests and len(views.cameras) == 8
    stored = radiance_run(run.folder)
    assert len(find_views(stored).training) == len(views.training)
    origins, directions, _ = views.training[0]()
    center = run.grid.bounds.mean(dim=0)
    along = ((center - origins) * directions).sum(dim=-1)
    nearest = (origins + along[:, None] * directions - center).norm(dim=-1)
    assert float(nearest.min()) < 0.02 and float(torch.linalg.norm(origins[0] - center)) > 1.0


@pytest.mark.parametrize("options, words", [
    ({"bits": 7}, "--bits is 7"), ({"bits": 32}, "8, 6, 5 or 4"), ({"bits": 8, "max_loss": 1.0}, "--bits and --max"),
    ({"max_loss": 0.0}, "--max-loss"), ({"max_loss": float("nan")}, "--max-loss"), ({"max_bytes": 0}, "--max-bytes"),
    ({"max_loss": 1e-20}, "from 1e-09"), ({"max_loss": 4000.0}, "to 100"), ({"max_loss": -1.0}, "--max-loss is -1"),
    ({"tune_steps": -1}, "--tune-steps"),
])  # fmt: skip
def test_options_out_of_range_are_refused(options, words, run, tmp_path):
    with pytest.raises(InputError) as error:
        store_run(run, tmp_path / "x.field", **options)
    assert words in error.value.message


def test_a_folder_is_no_file(run, tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        store_run(run, tmp_path, **QUIET)


def test_places_that_cannot_be_written_are_refused_before_what_takes_long(run, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr(store, "find_views", lambda run: pytest.fail("it has begun"))
    for check in (lambda path: store_run(run, path), lambda path: check_run(run.folder, path, "cpu")):
        with pytest.raises(InputError, match="cannot write .*taken.*Choose another place"):
            check(tmp_path / "taken" / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


# Commands


@pytest.fixture(scope="module")
def field_file(run_with_data, tmp_path_factory):
    """A field file that the command has written, and what it printed."""
    path = tmp_path_factory.mktemp("files") / "ball.field"
    result = here("eugen-export", run_with_data, "--field", path, "--bits", 8, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    return path, result.stdout


def test_the_command_says_what_it_cost(field_file):
    path, printed = field_file
    assert f"{path.stat().st_size:,}" in printed and str(path) in printed
    assert "dB before" in printed and "dB after" in printed and "2 test views" in printed


def test_without_data_the_command_says_so(run, tmp_path):
    path = tmp_path / "x.field"
    result = here("eugen-export", run.folder, "--field", path, "--bits", 6, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert "the run's own renders" in result.stdout and "between the renders" in result.stdout


def test_a_field_file_is_exported_like_a_run(field_file, run_with_data, tmp_path):
    path, _ = field_file
    volumes = []
    for source, name in ((path, "file"), (run_with_data, "run")):
        output = tmp_path / f"{name}.ply"
        result = here("eugen-export", source, "--output", output, "--resolution", 32, "--device", "cpu")
        assert result.returncode == 0, result.stderr
        volumes.append(json.loads(output.with_suffix(".json").read_text())["volume"])
    assert volumes[0] == pytest.approx(volumes[1], rel=0.03)
    result = here("eugen-export", path, "--resolution", 16, "--device", "cpu")
    assert result.returncode == 0 and (path.parent / "mesh.ply").exists()


@pytest.mark.parametrize("name", ["ball", "ball.field (1)", "ball.gz"])
def test_field_files_open_by_any_name(name, field_file, tmp_path):
    path = shutil.copy(field_file[0], tmp_path / name)
    opened = stored_of(open_run_or_file(path, "cpu"))
    assert opened is not None and opened.bytes == field_file[0].stat().st_size
    (tmp_path / "text").write_text("no field")
    for other in (tmp_path, tmp_path / "text", tmp_path / "gone"):
        assert not is_field_file(other)


def test_a_page_does_not_replace_what_it_is_made_from(field_file, run_with_data, tmp_path, monkeypatch):
    path, before = tmp_path / "x.field", field_file[0].read_bytes()
    path.write_bytes(before)
    monkeypatch.chdir(tmp_path)
    result = here("eugen-export", path, "--web", "x.field")
    assert result.returncode == 1 and "--web x.field is the file of RUN" in result.stderr
    result = here("eugen-export", run_with_data, "--web", "x.field", "--field", path)
    assert result.returncode == 1 and "--web x.field is the file of --field" in result.stderr
    assert path.read_bytes() == before


def test_a_field_file_of_a_field_file_is_refused(field_file, tmp_path):
    result = here("eugen-export", field_file[0], "--field", tmp_path / "x.field")
    assert result.returncode == 1 and "is a field file already, so --field has no use" in result.stderr


def test_a_field_file_is_timed_like_a_run(field_file, run_with_data, tmp_path):
    path, _ = field_file
    results = tmp_path / "render.json"
    result = here(
        "eugen-bench", "render", path, run_with_data, "--sizes", 16, "--rounds", 1, "--views", 1, "--json", results,
        "--device", "cpu",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "ball.field" in result.stdout


@pytest.mark.parametrize("flags, words", [
    (("--bits", 8), "name one with --field"), (("--field", "x.field", "--output", "x.ply"), "give one of them"),
    (("--field", "x.field", "--bits", 3), "--bits is 3"),
])  # fmt: skip
def test_flags_that_do_not_go_together_are_refused(flags, words, run_with_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = here("eugen-export", run_with_data, *flags)
    assert result.returncode == 1 and words in result.stderr and "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_page_of_a_run_and_of_a_file(field_file, run_with_data, tmp_path):
    pages = [tmp_path / "file.html", tmp_path / "run.html"]
    results = [
        here("eugen-export", field_file[0], "--web", pages[0]),
        here("eugen-export", run_with_data, "--web", pages[1], "--bits", 8, "--device", "cpu"),
    ]
    for result, page in zip(results, pages):
        assert result.returncode == 0, result.stderr
        assert str(page) in result.stdout and f"{page.stat().st_size:,} bytes" in result.stdout
        assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert base64.b64encode(field_file[0].read_bytes()).decode() in pages[0].read_text(encoding="utf-8")
    assert "dB lost" in results[1].stdout and sorted(tmp_path.iterdir()) == sorted(pages), (
        "the file is in the page alone"
    )


def test_a_page_that_is_stopped_leaves_its_field_file_and_says_so(run_with_data, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("eugen_fields.storing.web.write_page", stop)
    page, path = tmp_path / "x.html", tmp_path / "x.field"
    flags = ("--web", page, "--bits", 8, "--device", "cpu")
    result = here("eugen-export", run_with_data, *flags, "--field", path)
    assert result.returncode == 1 and f"no page was written, but the field file was: {path}." in result.stderr
    assert path.exists() and not page.exists()
    result = here("eugen-export", run_with_data, *flags)
    assert result.returncode == 1 and "no file was written" in result.stderr


@pytest.mark.parametrize("kind", ["planes", "cones along the axes"])
def test_files_of_cones_are_exported_and_shown_like_runs(kind, tmp_path):
    path, mesh, page = (tmp_path / name for name in ("x.field", "x.ply", "x.html"))
    run = cone_run(tmp_path / "run", **CONES[kind])
    run.field.initial_density = 30.0
    store_run(run, path, bits=8, **QUIET)
    result = here("eugen-export", path, "--output", mesh, "--resolution", 16, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert json.loads(mesh.with_suffix(".json").read_text())["volume"] > 0.1
    result = here("eugen-export", path, "--web", page)
    assert result.returncode == 0 and page.exists(), result.stderr
    opened = OpenedRun(path, "cpu")
    assert "eugen" in opened.shown.name and find_photos(opened).cameras is not None
    rows = summary(opened.shown)
    assert rows["Field file"] == f"{path.stat().st_size:,} bytes"


@pytest.mark.parametrize("flags, words", [
    (("--bits", 8), "is a field file already, so --bits has no use"),
    (("--field", "y.field"), "is a field file already, so --field has no use"),
    (("--output", "x.ply"), "--output writes a mesh and --web a page; give one of them"),
])  # fmt: skip
def test_flags_that_pages_of_files_have_no_use_for_are_refused(flags, words, field_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = here("eugen-export", field_file[0], "--web", "x.html", *flags)
    assert result.returncode == 1 and words in result.stderr and "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_damaged_field_files_end_commands_with_a_line(field_file, tmp_path):
    path = tmp_path / "cut.field"
    path.write_bytes(field_file[0].read_bytes()[:-9])
    for command in (
        ("eugen-export", path),
        ("eugen-export", path, "--web", tmp_path / "x.html"),
        ("eugen-bench", "render", path),
        ("eugen-view", path, "--port", 0),
    ):
        result = here(*command)
        assert result.returncode == 1 and "too early" in result.stderr and "Traceback" not in result.stderr
