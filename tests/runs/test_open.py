"""Opening runs: the same field comes back, whatever names it, and nothing in a run is ever executed."""

import json

import pytest
import torch

from eugen_fields.errors import InputError
from eugen_fields.runs import ClassData, open_run, read_config, read_world_from_scene

pytest_plugins = "support.run_fixture"


def test_the_field_that_was_trained_comes_back(sphere_run):
    run = open_run(sphere_run, device="cpu")
    assert (run.step, run.method_name, run.folder) == (200, "eugen-nerf-tiny", sphere_run)
    assert not run.field.training and not any(p.requires_grad for p in run.field.parameters())
    assert run.aabb.tolist() == [[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]
    assert run.model_config.layer_width == 32 and run.model_config.skip_connections == ()
    points = torch.tensor([[0.2, -0.1, 0.0], [-0.9, 0.9, 0.9]])
    density = run.field.density(points)[0]
    assert density[0] > 20.0 and density[1] < 1.0
    assert run.grid.occupied_at(points).tolist() == [True, False]


@pytest.mark.parametrize("below", ["", "config.yml", "nerfstudio_models"])
def test_a_run_is_found_by_its_folder_its_config_and_its_checkpoints(sphere_run, below):
    assert open_run(str(sphere_run / below), device="cpu").folder == sphere_run


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_run_is_found_from_a_folder_above_it(sphere_run, levels):
    assert open_run(sphere_run.parents[levels - 1], device="cpu").folder == sphere_run


def test_several_runs_are_listed_instead_of_one_being_picked(sphere_run):
    other = sphere_run.parent / "2026-02-02_000000"
    other.mkdir()
    (other / "config.yml").write_bytes((sphere_run / "config.yml").read_bytes())
    with pytest.raises(InputError) as error:
        open_run(sphere_run.parent)
    assert str(other) in error.value.message and str(sphere_run) in error.value.message


def test_a_step_can_be_chosen(sphere_run):
    assert open_run(sphere_run, device="cpu", step=100).step == 100
    with pytest.raises(InputError, match="step 150.*100, 200"):
        open_run(sphere_run, step=150)


def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before(sphere_run, capsys):
    newest = sphere_run / "nerfstudio_models" / "step-000000200.ckpt"
    newest.write_bytes(newest.read_bytes()[:1000])
    assert open_run(sphere_run, device="cpu").step == 100
    assert "step-000000200" in capsys.readouterr().out.replace("\n", "")
    with pytest.raises(InputError, match="truncated"):
        open_run(sphere_run, step=200)


def test_weights_saved_from_several_devices_are_the_same_weights(sphere_run):
    path = sphere_run / "nerfstudio_models" / "step-000000200.ckpt"
    state = torch.load(path, weights_only=True)
    state["pipeline"] = {name.replace("_model.", "_model.module."): value for name, value in state["pipeline"].items()}
    torch.save(state, path)
    assert open_run(sphere_run, device="cpu").step == 200


def test_settings_of_another_version_are_passed_over(sphere_run):
    config = sphere_run / "config.yml"
    text = config.read_text()
    assert "    layer_width: 32\n" in text
    config.write_text(text.replace("    layer_width: 32\n", "    layer_width: 32\n    from_the_future: 1\n"))
    assert open_run(sphere_run, device="cpu").model_config.layer_width == 32


# What is in a config is data


def test_a_config_is_read_without_importing_or_calling_anything(tmp_path):
    trap = tmp_path / "trap"
    config = tmp_path / "config.yml"
    config.write_text(
        f"""!!python/object:some.Trainer
_target: !!python/name:no_such_module_anywhere.Trainer ''
first: !!python/object/apply:os.system ['touch {trap}']
second: !!python/object/new:os.system ['touch {trap}']
third: !!python/object/apply:builtins.eval ["open('{trap}', 'w')"]
fourth: !!python/module:no_such_module_anywhere ''
data: !!python/object/apply:pathlib.PosixPath [a, b]
shape: !!python/tuple [1, 2]
pipeline: !!python/object:some.Pipeline
  model: !!python/object:some.Model {{width: 3}}
"""
    )
    content = read_config(config)
    assert not trap.exists()
    assert content.class_path == "some.Trainer"
    assert content["_target"] == "no_such_module_anywhere.Trainer"
    assert content["first"] == {"args": (f"touch {trap}",)} and content["first"].class_path == "os.system"
    assert str(content["data"]) == "a/b" and content["shape"] == (1, 2)
    assert isinstance(content["pipeline"]["model"], ClassData) and content["pipeline"]["model"]["width"] == 3
    with pytest.raises(InputError, match="some.Model"):
        open_run(tmp_path)
    assert not trap.exists()


def test_a_model_that_is_a_call_is_refused_and_not_called(sphere_run, tmp_path):
    trap = tmp_path / "trap"
    (sphere_run / "config.yml").write_text(
        "!!python/object:eugen_fields.training.trainer.FieldTrainerConfig\n"
        "pipeline: !!python/object:eugen_fields.training.pipeline.FieldPipelineConfig\n"
        f"  model: !!python/object/apply:os.system ['touch {trap}']\n"
    )
    with pytest.raises(InputError, match="os.system"):
        open_run(sphere_run)
    assert not trap.exists()


def test_a_run_of_a_foreign_method_is_refused_by_name(sphere_run):
    config = sphere_run / "config.yml"
    foreign = "nerfstudio.models.nerfacto.NerfactoModelConfig"
    config.write_text(config.read_text().replace("eugen_fields.models.nerf.NeRFModelConfig", foreign))
    with pytest.raises(InputError, match=foreign):
        open_run(sphere_run)


# Bad input


def damage(path, content):
    path.unlink()
    if content is not None:
        path.write_text(content)


@pytest.mark.parametrize(
    "content", ["", "just text", "a: [", "!unknown {}", "!!python/object:x.Y {}", "\x00", "[" * 5000]
)
def test_a_config_that_is_none_is_refused(sphere_run, content):
    damage(sphere_run / "config.yml", content)
    with pytest.raises(InputError, match="config.yml"):
        open_run(sphere_run)


def test_paths_that_are_no_runs_are_refused(sphere_run, tmp_path):
    (tmp_path / "empty").mkdir()
    for path, message in [
        (tmp_path / "nowhere", "there is no run"),
        (tmp_path / "empty", "no config.yml"),
        (sphere_run / "dataparser_transforms.json", "is not a run"),
    ]:
        with pytest.raises(InputError, match=message):
            open_run(path)
    damage(sphere_run / "config.yml", None)
    with pytest.raises(InputError, match="incomplete"):
        open_run(sphere_run / "nerfstudio_models")


def test_a_run_without_checkpoints_is_refused(sphere_run):
    for path in (sphere_run / "nerfstudio_models").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="holds no checkpoint"):
        open_run(sphere_run)


def test_weights_of_another_network_are_refused(sphere_run):
    config = sphere_run / "config.yml"
    config.write_text(config.read_text().replace("layer_width: 32", "layer_width: 48"))
    with pytest.raises(InputError, match="another network"):
        open_run(sphere_run)


@pytest.mark.parametrize("value", ["-3", "wide", "null", "[1, 2]"])
def test_settings_that_build_no_network_are_refused(sphere_run, value):
    config = sphere_run / "config.yml"
    config.write_text(config.read_text().replace("layer_width: 32", f"layer_width: {value}"))
    with pytest.raises(InputError, match="config.yml"):
        open_run(sphere_run)


def change_weights(run, change):
    path = run / "nerfstudio_models" / "step-000000200.ckpt"
    state = torch.load(path, weights_only=True)
    change(state["pipeline"])
    torch.save(state, path)


def test_diverged_weights_are_refused_and_other_steps_named(sphere_run):
    change_weights(sphere_run, lambda weights: weights["_model.field.color_head.layers.0.weight"].fill_(torch.nan))
    with pytest.raises(InputError, match="diverged.*step 100"):
        open_run(sphere_run)


def test_a_checkpoint_without_a_scene_box_is_refused(sphere_run):
    change_weights(sphere_run, lambda weights: weights.pop("_model.field.aabb"))
    with pytest.raises(InputError, match="no scene box"):
        open_run(sphere_run)


def test_a_device_that_is_not_there_is_refused(sphere_run):
    for device in ("cuda:99", "toaster"):
        with pytest.raises(InputError, match=device):
            open_run(sphere_run, device=device)


# The world frame


def test_world_from_scene_undoes_the_transform_of_the_dataparser(sphere_run):
    from nerfstudio.data.dataparsers.base_dataparser import transform_poses_to_original_space

    content = json.loads((sphere_run / "dataparser_transforms.json").read_text())
    scene_point = torch.tensor([0.3, -0.7, 0.2])
    pose = torch.cat([torch.eye(3), scene_point[:, None]], dim=1)[None]
    original = transform_poses_to_original_space(pose, torch.tensor(content["transform"]), content["scale"], "opengl")
    world = open_run(sphere_run, device="cpu").world_from_scene @ torch.tensor([*scene_point, 1.0]).double()
    torch.testing.assert_close(world[:3].float(), original[0, :, 3])


def test_without_a_transform_the_world_is_the_scene(tmp_path):
    assert torch.equal(read_world_from_scene(tmp_path / "none.json"), torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize(
    "content", ["", "[]", '{"scale": 1}', '{"scale": 0, "transform": [[1,0,0,0],[0,1,0,0],[0,0,1,0]]}']
)
def test_a_damaged_transform_is_refused(tmp_path, content):
    path = tmp_path / "dataparser_transforms.json"
    path.write_text(content)
    with pytest.raises(InputError, match="dataparser_transforms.json is damaged"):
        read_world_from_scene(path)
