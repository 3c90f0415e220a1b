"""eugen-transfer: a trained dense run becomes one with new layers that every command opens."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from nerfstudio.configs.method_configs import method_configs
from nerfstudio.field_components.encodings import NeRFEncoding
from nerfstudio.fields.vanilla_nerf_field import NeRFField as StockField
from nerfstudio.scripts import train
from support.helpers import here, typed, write_sphere_scene

from eugen_fields.errors import InputError
from eugen_fields.layers import fold
from eugen_fields.layers.kinds import layer_kind
from eugen_fields.methods import METHODS
from eugen_fields.models import summary
from eugen_fields.runs import open_run, read_config
from eugen_fields.training.optimizers import MuonWithAdam
from eugen_fields.transfer.finetune import finetune_optimizer
from eugen_fields.transfer.new_run import transfer_run
from eugen_fields.transfer.options import TransferOptions
from eugen_fields.transfer.teacher import open_teacher


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sphere_scene(tmp_path_factory.mktemp("scenes") / "sphere")


@pytest.fixture(scope="module")
def dense_run(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a short dense eugen-nerf-tiny run."""
    config = typed(
        "eugen-nerf-tiny", scene, tmp_path_factory.mktemp("runs"), "--max-num-iterations", 300,
        "--pipeline.model.layer", "dense", "--pipeline.model.grid-warmup-steps", 60,
        "--pipeline.model.grid-resolution", 32, "--pipeline.target-num-samples", 4096,
        "--optimizers.fields.scheduler.warmup-steps", 20,
    )  # fmt: skip
    train.main(config)
    return config.get_base_dir()


@pytest.fixture(scope="module")
def student_run(dense_run: Path) -> Path:
    result = here("eugen-transfer", dense_run, "--num-features", 32, "--num-samples", 20000)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "relative errors" in result.stdout and "ns-eval --load-config" in result.stdout
    return dense_run.parent / "run-eugen32"


def psnr_of(run: Path, output: Path) -> float:
    result = here("ns-eval", "--load-config", run / "config.yml", "--output-path", output)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return json.loads(output.read_text())["results"]["psnr"]


def test_the_student_keeps_what_the_teacher_learned(dense_run: Path, student_run: Path, tmp_path: Path) -> None:
    teacher, student = psnr_of(dense_run, tmp_path / "teacher.json"), psnr_of(student_run, tmp_path / "student.json")
    assert teacher > 18.0
    assert student > teacher - 2.0
    report = json.loads((student_run / "transfer.json").read_text())
    assert [layer["name"] for layer in report["layers"]] == ["layers.1", "layers.2", "layers.3"]
    assert report["parameters_after"] < 0.7 * report["parameters_before"]
    assert report["teacher_step"] == 299 and report["samples"] > 1000


def test_the_student_opens_exports_and_trains_on(
    student_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = open_run(student_run)
    assert run.model_config.layer == "eugen" and run.model_config.replace == (1, 2, 3) and run.step == 299
    result = here("eugen-export", student_run, "--resolution", 32, "--output", tmp_path / "mesh.ply")
    assert result.returncode == 0 and (tmp_path / "mesh.ply").stat().st_size > 1000, result.stdout + result.stderr
    data = read_config(student_run / "config.yml")["pipeline"]["datamanager"]["data"]
    flags = (
        "--max-num-iterations", 303, "--load-dir", student_run / "nerfstudio_models", "--pipeline.model.layer", "eugen",
        "--pipeline.model.num-features", 32, "--pipeline.model.norm", "False", "--pipeline.model.projection-bias",
        "True", "--pipeline.model.grid-resolution", 32,
    )  # fmt: skip
    train.main(typed("eugen-nerf-tiny", data, tmp_path, *flags))
    assert "Resuming after step 299" in re.sub(r"\s+", " ", capsys.readouterr().out)


@pytest.mark.parametrize("layer", ["prp", "low-rank", "snnk"])
def test_other_layer_kinds_and_the_best_layers_without_any_image(
    layer: str, dense_run: Path, scene: Path, tmp_path: Path
) -> None:
    own_scene, run = tmp_path / "sphere", tmp_path / "run"
    shutil.copytree(scene, own_scene)
    shutil.copytree(dense_run, run)
    config = run / "config.yml"
    config.write_text(config.read_text().replace(scene.parent.name, tmp_path.name))
    for image in sorted((own_scene / "train").iterdir())[1:]:  # nerfstudio's parser takes the size from the first
        image.write_bytes(b"damaged")
    result = here(
        "eugen-transfer", run, "--layer", layer, "--best", 1, "--num-samples", 3000, "--finetune-steps", 2,
        "--output-dir", tmp_path / "new", "--name", "student",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    (student,) = (tmp_path / "new").glob("*/*/student")
    opened = open_run(student)
    assert opened.model_config.layer == layer and len(opened.model_config.replace or ()) == 1


@pytest.fixture(scope="module")
def shrunk_run(dense_run: Path) -> Path:
    """The run of a budget, with the norm left out and fine-tuned."""
    result = here(
        "eugen-transfer", dense_run, "--multiplications", 12_000, "--finetune-steps", 40, "--finetune-samples", 4096,
        "--num-samples", 10_000, "--name", "shrunk",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "networks compared" in result.stdout and "| taken |" in result.stdout
    assert "dB in closed form" in result.stdout and "dB after fine-tuning" in result.stdout
    return dense_run.parent / "shrunk"


def test_a_budget_is_met_and_fine_tuning_comes_nearer_to_the_teacher(dense_run: Path, shrunk_run: Path) -> None:
    facts = json.loads((shrunk_run / "transfer.json").read_text())
    assert facts["psnr"] > facts["closed_form_psnr"] + 0.2
    taken, run = facts["search"]["candidates"][0], open_run(shrunk_run)
    assert run.model_config.norm is False and run.field.trunk.replace == tuple(taken["replace"])
    assert run.model_config.num_features == taken["size"]
    assert summary.multiplications(run.field) == facts["multiplications"] == taken["multiplications"] <= 12_000
    assert summary.multiplications(open_run(dense_run).field) > 60_000
    x = torch.rand(200, run.field.trunk.in_dim, generator=torch.Generator().manual_seed(0))
    y = run.field.trunk(x)
    torch.testing.assert_close(fold(run.field.trunk)(x), y, rtol=0, atol=1e-5 * float(y.abs().max()))


def test_what_a_budget_gives_is_scored_and_trains_on(
    dense_run: Path, shrunk_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert psnr_of(shrunk_run, tmp_path / "student.json") > psnr_of(dense_run, tmp_path / "teacher.json") - 6.0
    config = read_config(shrunk_run / "config.yml")
    model = config["pipeline"]["model"]
    flags = (
        "--max-num-iterations", 302, "--load-dir", shrunk_run / "nerfstudio_models", "--pipeline.model.layer", "eugen",
        "--pipeline.model.num-features", model["num_features"], "--pipeline.model.norm", "False",
        "--pipeline.model.projection-bias", "True",
        "--pipeline.model.replace", *model["replace"], "--pipeline.model.grid-resolution", 32,
    )  # fmt: skip
    train.main(typed("eugen-nerf-tiny", config["pipeline"]["datamanager"]["data"], tmp_path, *flags))
    assert "Resuming after step 299" in re.sub(r"\s+", " ", capsys.readouterr().out)


def test_fine_tuning_is_by_the_optimiser_of_the_method(dense_run: Path) -> None:
    _, config = open_teacher(dense_run, "cpu", None, 128, METHODS)
    tiny = finetune_optimizer(config, "dense", 600, 0.5)
    assert isinstance(tiny.setup([torch.nn.Parameter(torch.zeros(8, 8))]), MuonWithAdam)
    assert tiny.lr == 0.5 * layer_kind("dense").muon_rate("nerf tiny", 600)
    assert tiny.adam_lr == 0.5 * layer_kind("dense").rate("nerf tiny")
    large = finetune_optimizer(METHODS["eugen-nerf"], "prp", 600, 1.0)
    assert large.algorithm == "adam" and large.lr == layer_kind("prp").rate("nerf")


@pytest.fixture(scope="module")
def vanilla_run(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as nerfstudio's vanilla-nerf leaves it (untrained: training it fetches weights from the network)."""
    folder = tmp_path_factory.mktemp("vanilla") / "sphere" / "vanilla-nerf" / "run"
    (folder / "nerfstudio_models").mkdir(parents=True)
    config = method_configs["vanilla-nerf"]
    config.data = config.pipeline.datamanager.data = config.pipeline.datamanager.dataparser.data = scene
    config.experiment_name, config.timestamp, config.output_dir = "sphere", "run", folder.parents[2]
    (folder / "config.yml").write_text(yaml.dump(config), encoding="utf-8")
    torch.manual_seed(0)
    encodings = (NeRFEncoding(3, 10, 0.0, 8.0, include_input=True), NeRFEncoding(3, 4, 0.0, 4.0, include_input=True))
    weights = {
        f"_model.field_{level}.{name}": value
        for level in ("coarse", "fine")
        for name, value in StockField(*encodings).state_dict().items()
    }
    torch.save({"step": 7, "pipeline": weights}, folder / "nerfstudio_models" / "step-000000007.ckpt")
    return folder


@pytest.mark.e2e
def test_a_vanilla_nerf_run_becomes_one_of_ours(vanilla_run: Path, tmp_path: Path) -> None:
    result = here(
        "eugen-transfer", vanilla_run, "--num-features", 64, "--best", 3, "--num-samples", 5000, "--grid-resolution", 16
    )
    assert result.returncode == 0, result.stdout + result.stderr
    student = open_run(vanilla_run.parent.parent / "eugen-nerf" / "run-eugen64")
    assert student.model_config.architecture == "vanilla" and student.step == 7
    assert len(student.model_config.replace or ()) == 3
    teacher = StockField(
        NeRFEncoding(3, 10, 0.0, 8.0, include_input=True), NeRFEncoding(3, 4, 0.0, 4.0, include_input=True)
    )
    weights = torch.load(vanilla_run / "nerfstudio_models" / "step-000000007.ckpt")["pipeline"]
    prefix = "_model.field_fine."
    teacher.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    positions = 2.0 * torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) - 1.0
    with torch.no_grad():
        truth = teacher.field_output_density(teacher.mlp_base(teacher.position_encoding(positions)))[:, 0]
        density, _ = student.field.density(positions)
    assert float((density - truth).norm() / (truth - truth.mean()).norm()) < 0.5
    assert 0.0 < psnr_of(student.folder, tmp_path / "scores.json") < 60.0
    level = float(density.median())
    mesh = tmp_path / "mesh.glb"
    result = here("eugen-export", student.folder, "--resolution", 12, "--level", level, "--output", mesh)
    assert result.returncode == 0 and mesh.stat().st_size > 500, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--best", 1, "--replace", 1), "--best and --replace"),
        (("--num-samples", 0), "--num-samples is 0"),
        (("--replace", 99), "replace names layer 99"),
        (("--ridge", -1), "ridge is -1.0"),
        (("--num-samples", 100, "--num-features", 128), "samples cannot determine"),
        (("--output-dir", "/proc/nothing"), "cannot write"),
        (("--name", "run"), "is there already"),
        (("--step", 12345), "no checkpoint of step 12345"),
        (("--multiplications", 9000, "--bytes", 9000), "--multiplications and --bytes are both budgets"),
        (("--multiplications", 9000, "--num-features", 8), "leave out --num-features"),
        (("--bytes", 9000, "--best", 2), "leave out --best"),
        (("--bytes", 9000, "--layer", "low-rank", "--rank", 4), "leave out --rank"),
        (("--bytes", 0), "--bytes is 0"),
        (("--multiplications", 100, "--num-samples", 1000), "the smallest to be reached has"),
        (("--multiplications", 99999, "--num-samples", 1000), "Give a smaller budget"),
        (("--norm", "--layer", "prp"), "--norm is an option of EUGen layers"),
        (("--finetune-steps", -1), "--finetune-steps"),
        (("--finetune-rate-factor", 0), "--finetune-rate-factor is 0.0"),
    ],
)
def test_bad_flags_are_named(flags: tuple, message: str, dense_run: Path) -> None:
    result = here("eugen-transfer", dense_run, *flags)
    text = re.sub(r"\s+", " ", result.stdout + result.stderr)
    assert result.returncode == 1 and "Traceback" not in text and message in text, text
    assert result.stderr.startswith("error: ") and result.stdout == ""
    assert not list(dense_run.parent.glob(".unfinished*"))


def test_a_run_without_dense_layers_is_no_teacher(student_run: Path) -> None:
    result = here("eugen-transfer", student_run)
    text = re.sub(r"\s+", " ", result.stdout + result.stderr)
    assert result.returncode != 0 and "a teacher needs dense ones" in text and "Traceback" not in text, text


def test_residual_layers_are_neither_fitted_nor_replaced(dense_run: Path, scene: Path, tmp_path: Path) -> None:
    config = typed(
        "eugen-nerf-tiny", scene, tmp_path, "--max-num-iterations", 2, "--pipeline.model.layer", "eugen-residual",
        "--pipeline.model.grid-resolution", 16,
    )  # fmt: skip
    train.main(config)
    result = here("eugen-transfer", config.get_base_dir(), "--multiplications", 9000)
    text = re.sub(r"\s+", " ", result.stdout + result.stderr)
    assert result.returncode == 1 and "has eugen-residual layers; a teacher needs dense ones" in text, text
    assert "Traceback" not in text and "--pipeline.model.num-features" in text
    with pytest.raises(InputError, match="'eugen-residual'.*stand for no dense layer"):
        transfer_run(TransferOptions(dense_run, layer="eugen-residual", multiplications=9000), METHODS, progress=False)


def test_a_scene_that_is_gone_is_named(dense_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(dense_run, run)
    config = run / "config.yml"
    config.write_text(config.read_text().replace("- sphere\n", "- sphere-gone\n"))
    (run / "scene.json").unlink()  # it knows where the scene is
    result = here("eugen-transfer", run, "--output-dir", tmp_path / "new")
    text = re.sub(r"\s+", "", result.stdout + result.stderr)
    assert result.returncode != 0 and "sphere-gone" in text and "Traceback" not in text, text
