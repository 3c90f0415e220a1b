"""Loading needs torch and numpy alone, and renders the same bits in every process."""

import hashlib
import subprocess
import sys

import pytest
import torch
from support.helpers import PROJECT
from support.stored_runs import CONES, KINDS, MAKE_RUN, cone_run, encoded, full

import eugen_fields
from eugen_fields.storing import container

ALONE = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(name + " is not there")

BLOCKED = {"nerfstudio", "scipy", "tyro", "tqdm", "open3d", "viser", "matplotlib", "trimesh", "PIL", "yaml",
           "torchvision", "torchmetrics", "triton", "mitsuba"}
sys.meta_path.insert(0, Nothing())
import hashlib
import eugen_fields
loaded = set(sys.modules)
assert "torch" not in loaded, "the package itself imports torch"
import torch, numpy
torch.set_num_threads(1)
before = {name.partition(".")[0] for name in sys.modules}
stored = eugen_fields.load_field(sys.argv[1])
digest = hashlib.sha256()
for name, value in sorted(stored.render(stored.cameras[0], normals=True).items()):
    digest.update(value.numpy().tobytes())
more = {name.partition(".")[0] for name in sys.modules} - before - set(sys.stdlib_module_names)
print(digest.hexdigest(), sorted(more))
"""


@pytest.mark.parametrize("what, kind", [
    ("radiance", "prp, orthogonal"), ("distance", "eugen with skip connections"), ("cones", "planes"),
    ("cones", "cones along an icosahedron"),
])  # fmt: skip
def test_another_process_without_nerfstudio_renders_the_same_bits(what, kind, tmp_path):
    folder = tmp_path / "run"
    run = cone_run(folder, **CONES[kind]) if what == "cones" else MAKE_RUN[what](folder, **KINDS[kind])
    path = tmp_path / "scene.field"
    container.write(path, encoded(full(run)[0]))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    stored = eugen_fields.load_field(path)
    digest = hashlib.sha256()
    for _, value in sorted(stored.render(stored.cameras[0], normals=True).items()):
        digest.update(value.numpy().tobytes())
    torch.set_num_threads(threads)
    result = subprocess.run(
        [sys.executable, "-c", ALONE, str(path)], cwd=PROJECT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split(maxsplit=1) == [digest.hexdigest(), "[]\n"]


def test_cameras_resize_to_the_same_view(tmp_path):
    stored = full(MAKE_RUN["radiance"](tmp_path / "run", layer="dense"))[1]
    camera = stored.cameras[0]
    double = camera.resized(2 * camera.height)
    assert (double.width, double.height) == (2 * camera.width, 2 * camera.height)
    small, large = (stored.render(view)["rgb"] for view in (camera, double))
    means = large.unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).mean(dim=(1, 3))
    assert float((means - small).abs().mean()) < 0.02


def test_rays_in_chunks_are_the_same(tmp_path):
    stored = full(MAKE_RUN["radiance"](tmp_path / "run", layer="eugen", num_features=8))[1]
    whole, parts = (stored.render(stored.cameras[0], chunk_rays=count) for count in (1 << 13, 37))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-6)


def test_wide_pixels_see_means_and_no_detail(tmp_path):
    """Of a field that sees cones; aliasing is what a field of points would have in place of them."""
    stored = full(cone_run(tmp_path / "run", plane_resolutions=(3, 65), plane_channels=4))[1]
    camera = stored.cameras[0]
    origins, directions, radius = camera.resized(6).rays()
    by_width = [stored.render_rays(origins, directions, width * radius)["rgb"] for width in (1e-3, 1.0, 1e3)]
    fine, seen, coarse = by_width
    assert float((fine - seen).abs().max()) > 1e-3 and float((coarse - seen).abs().max()) > 1e-3
    torch.testing.assert_close(stored.render_rays(origins, directions)["rgb"], fine, rtol=0, atol=1e-3)
