"""Exported solids in closed form: within a voxel of the truth everywhere, with its volume, closed and in one piece."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.distance_shapes import SHAPES
from support.shape_runs import DENSITY, density_run, distance_run

from eugen_fields.meshing.build import build_mesh
from eugen_fields.meshing.report import surface_facts

TESTS = Path(__file__).resolve().parent.parent


def open_solid(kind, name, folder=Path("nowhere")):
    return density_run(name, folder) if kind == "density" else distance_run(name, folder)


def exported(kind, name, resolution, **options):
    level = {"level": DENSITY / 2} if kind == "density" else {}
    return build_mesh(open_solid(kind, name), resolution=resolution, progress=False, **(level | options))[0]


@pytest.mark.parametrize("kind", ["density", "distance"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_surface_is_that_of_the_solid(kind, name):
    mesh, voxel = exported(kind, name, 64), 2.0 / 64
    solid, facts = SHAPES[name], surface_facts(mesh.vertices, mesh.faces)
    assert facts["watertight"] and facts["components"] == 1
    assert mesh.euler_number == solid.euler_number
    assert facts["volume"] == pytest.approx(solid.volume, rel=0.01)
    samples = torch.from_numpy(np.array(mesh.sample(20000, seed=0)))
    for points in (samples, torch.from_numpy(mesh.vertices.copy())):
        assert float(solid.distance(points).abs().max()) < voxel
    # and the other way round: every place of the true surface has mesh nearby
    places = 2.0 * torch.rand(400000, 3, generator=torch.Generator().manual_seed(1)).double() - 1.0
    places = places[solid.distance(places).abs() < 0.1 * voxel]
    nearest, _ = mesh.kdtree.query(places.numpy())
    assert len(places) > 500 and nearest.max() < 1.1 * voxel


MEASURE = """
import json, resource, sys, time
sys.path[:0] = [sys.argv[4]]
import torch, trimesh, open3d, skimage.measure
torch.set_num_threads(1)
import numpy as np
from test_solids import open_solid
from eugen_fields.meshing.export_mesh import export_mesh
from support.shape_runs import DENSITY
from support.distance_shapes import SHAPES
kind, name, resolution = sys.argv[1], sys.argv[2], int(sys.argv[3])
run = open_solid(kind, name)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, start = peak(), time.perf_counter()
level = DENSITY / 2 if kind == "density" else None
facts = export_mesh(run, sys.argv[5], resolution=resolution, level=level, progress=False)
after, seconds = peak(), time.perf_counter() - start
vertices = torch.from_numpy(np.array(trimesh.load(sys.argv[5], process=False).vertices)).double()
facts |= {"path": "", "off": float(SHAPES[name].distance(vertices).abs().max()) * resolution / 2}
facts |= {"off_volume": facts["volume"] / SHAPES[name].volume - 1, "peak": after, "growth": after - before}
print(json.dumps(facts | {"seconds": seconds}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("resolution", [64, 256, 512])
@pytest.mark.parametrize("kind", ["density", "distance"])
@pytest.mark.parametrize("name", SHAPES)
def test_memory_and_error_up_to_512(kind, name, resolution, tmp_path):
    """The whole export in a process of its own; `pytest -m slow -s` prints the table."""
    here = Path(__file__).parent
    arguments = [kind, name, resolution, here, tmp_path / "mesh.ply"]
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, arguments)], capture_output=True, text=True, cwd=TESTS, timeout=500
    )
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout.splitlines()[-1])
    print(
        f"\n{kind:8} {name:6} {resolution}: {facts['faces']} faces, off by {facts['off']:.3f} voxels, volume "
        f"{100 * facts['off_volume']:+.3f} %, peak {facts['peak']:.0f} MiB (+{facts['growth']:.0f}), "
        f"{facts['seconds']:.1f} s"
    )
    assert facts["watertight"] and facts["components"] == 1
    assert facts["off"] < 1.0 and abs(facts["off_volume"]) < 0.01
    assert facts["peak"] < 2000
