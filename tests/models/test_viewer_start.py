"""What models ask of nerfstudio's viewer when it starts."""

from types import SimpleNamespace

import pytest

from eugen_fields.models.viewer_start import SmallFramesOnCPU


def started(device: str, trains: bool = True):
    """A viewer as nerfstudio leaves it once the scene is set up, with the control of a model in it."""
    viewer = SimpleNamespace(
        viser_server=None,
        trainer=object() if trains else None,
        pipeline=SimpleNamespace(device=device),
        control_panel=SimpleNamespace(_max_res=SimpleNamespace(value=512)),
    )
    viewer.init_scene = lambda: setattr(viewer, "train_util", 0.9)
    SmallFramesOnCPU(128, 0.7)._setup(viewer)  # type: ignore[arg-type]
    viewer.init_scene()
    return viewer.control_panel._max_res.value, viewer.train_util


def test_a_cpu_that_trains_renders_smaller_frames_more_often():
    assert started("cpu") == (128, 0.7)


@pytest.mark.parametrize("device, trains", [("cuda:0", True), ("cpu", False)])
def test_gpus_and_finished_runs_keep_what_nerfstudio_has(device, trains):
    assert started(device, trains) == (512, 0.9)
