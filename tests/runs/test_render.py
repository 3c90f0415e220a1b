"""Rendering an open run: the picture of the run's own nerfstudio model, whatever the size of the chunks."""

import copy

import pytest
import torch
from nerfstudio.data.scene_box import SceneBox
from support.view_helpers import CAMERA, write_run

from eugen_fields.runs import open_run
from eugen_fields.runs.render import build_model, render_chunks


def its_own_model(folder):
    """The model as nerfstudio builds it, with the weights of the newest checkpoint."""
    run = open_run(folder, device="cpu")
    state = torch.load(max((folder / "nerfstudio_models").iterdir()), weights_only=True)["pipeline"]
    model = copy.deepcopy(run.model_config).setup(scene_box=SceneBox(run.aabb), num_train_data=3)
    missing, unexpected = model.load_state_dict(
        {name.removeprefix("_model."): value for name, value in state.items()}, strict=False
    )
    assert not unexpected and set(missing) <= {"device_indicator_param"}
    return model.eval()


# cones of a chunk share the widest one's margin around the occupied cells, so that Mip-NeRF is compared in one
@pytest.mark.parametrize("kind, chunk", [("nerf", 100), ("mipnerf", 4096), ("planes", 4096), ("isdf", 100)])
def test_renders_are_those_of_the_model(tmp_path, kind, chunk):
    folder = write_run(tmp_path / "run", kind)
    expected = its_own_model(folder).get_outputs_for_camera(CAMERA)
    model = build_model(open_run(folder, device="cpu"))
    chunks = list(render_chunks(model, CAMERA.generate_rays(0, keep_shape=True), chunk))
    found = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
    assert set(found) == set(expected) == {"rgb", "accumulation", "depth", "normals"}
    for name, value in found.items():
        assert not value.requires_grad
        torch.testing.assert_close(value.view_as(expected[name]), expected[name], rtol=1e-3, atol=1e-3)
    assert expected["rgb"].std() > 0.02 and len(chunks) == -(-int(CAMERA.width * CAMERA.height) // chunk)


def test_rays_of_any_shape_come_in_order(tmp_path):
    model = build_model(open_run(write_run(tmp_path / "run", "isdf"), device="cpu"))
    rays = CAMERA.generate_rays(0, keep_shape=True)
    whole = next(iter(render_chunks(model, rays, 1 << 20)))
    parts = torch.cat([chunk["depth"] for chunk in render_chunks(model, rays[3:5], 7)])
    torch.testing.assert_close(parts, whole["depth"].view(*rays.shape, 1)[3:5].reshape(-1, 1))
