"""Kernels compile for Hopper GPUs, to tensor-core code that keeps everything in registers. Needs no GPU."""

import contextlib
import re
import subprocess
import threading
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from support.kernel_checks import KINDS, isdf, nerf, points

from eugen_fields.kernels.distance import write_encoding
from eugen_fields.kernels.field import WRITERS, FusedField, read_network
from eugen_fields.kernels.run import launch
from eugen_fields.kernels.run.launch import COUNTS, LAYOUTS, PIECE, build, compiled_together, tuned, write_program
from eugen_fields.kernels.stages.live import live_stages
from eugen_fields.kernels.write.backward import make_layout, write_backward, write_forward, write_kept_forward
from eugen_fields.kernels.write.program import Program

SHARED_BYTES = 227 * 1024
"""What a program may have of an H100's multiprocessor."""


def compiled(program: Program, block: int, warps: int):
    """A program compiled for compute capability 9.0."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    kernel = build(program.source, False)
    names = kernel.arg_names
    types = {"weights": {2: "*i16", 4: "*i32"}[program.weights.itemsize], "BLOCK": "constexpr"} | dict.fromkeys(
        COUNTS, "i32"
    )
    types |= dict.fromkeys(("inputs", "values", "gradients"), "*bf16")
    signature = {name: types.get(name, "*fp32") for name in names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(kernel, signature, {"BLOCK": block}, aligned)
    return compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps, "num_stages": 1})


def stack_bytes(cubin: bytes, path) -> int:
    """Bytes a thread keeps in memory for want of registers."""
    from triton import knobs

    path.write_bytes(cubin)
    report = subprocess.run([knobs.nvidia.cuobjdump.path, "-res-usage", path], capture_output=True, text=True)
    found = re.search(r"STACK:(\d+)", report.stdout)
    assert found is not None, report.stdout + report.stderr
    return int(found.group(1))


@pytest.mark.parametrize("block, warps, _programs", LAYOUTS[-1:])
@pytest.mark.parametrize("name", ["dense", "eugen shared order 2", "eugen-residual"])
def test_small_fields_compile_without_spills(name, block, warps, _programs, tmp_path):
    knobs = pytest.importorskip("triton").knobs
    if not knobs.nvidia.ptxas.path:
        pytest.skip("this triton has no ptxas")
    for make, write, tangents in ((nerf, "radiance", False), (isdf, "distance", False), (isdf, "distance", True)):
        options = {"num_layers": 3, "skip_connections": ()}
        network = read_network(make(**options, **KINDS[name]))
        program = write_program(write, partial(WRITERS[write], network=network), torch.bfloat16, tangents=tangents)
        kernel = compiled(program, block, warps)
        assert kernel.metadata.shared <= SHARED_BYTES
        assert "wgmma" in kernel.asm["ptx"]
        assert stack_bytes(kernel.asm["cubin"], tmp_path / "kernel.cubin") == 0


class _Hopper:
    """A driver of a GPU that is not there: kernels can be compiled for it and not launched."""

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def test_kernels_of_a_field_are_compiled_together_and_not_launched(monkeypatch, tmp_path):
    knobs = pytest.importorskip("triton").knobs
    if not knobs.nvidia.ptxas.path:
        pytest.skip("this triton has no ptxas")
    from triton.runtime import driver

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(multi_processor_count=132))
    network = read_network(nerf(num_layers=2, skip_connections=(), **KINDS["eugen"]))
    programs = [
        write_program(name, partial(WRITERS[name], network=network), torch.float16) for name in ("radiance", "density")
    ]
    kernels = [tuned(program.source) for program in programs]
    monkeypatch.setattr(driver, "_active", _Hopper())
    monkeypatch.setattr(launch, "_compiled", set())
    with compiled_together() as compiled:
        for program in programs * 2:
            arrays = [torch.zeros(3, 3, device="meta")] * (2 if program is programs[0] else 1)
            launch.run(program, *arrays, *(torch.zeros(3, device="meta") for _ in arrays))
    assert set(compiled) == launch._compiled == {program.source for program in programs}
    assert launch._waiting.sources is None
    layouts = {(block, warps) for block, warps, _ in LAYOUTS}
    for kernel in kernels:
        (cache,) = (cache for cache, *_ in kernel.fn.device_caches.values())
        assert len(cache) == len(layouts), "how many programs share a processor is not compiled in"
        assert all("wgmma" in compiled.asm["ptx"] for compiled in cache.values())


def test_other_threads_launch_while_kernels_are_compiled_together(device):
    field = nerf(device, num_layers=2, skip_connections=())
    p, results = points(5, device), []
    expected = FusedField(field, torch.float32).density(p)
    with compiled_together():
        thread = threading.Thread(target=lambda: results.append(launch._waiting.sources))
        thread.start()
        thread.join()
        x = torch.ones(3, requires_grad=True)
        x.register_hook(lambda gradient: results.append(launch._waiting.sources))
        x.sum().backward()
        assert results == [None, {}]
    assert torch.equal(FusedField(field, torch.float32).density(p), expected)


def training_programs(field, dtype: torch.dtype = torch.bfloat16) -> list[Program]:
    """Those of FusedDistance: encoding, forward, forward with what is kept, and backward."""
    network, stages, in_dim = read_network(field), live_stages(field.trunk), field.trunk.in_dim
    layout = make_layout(stages, in_dim, PIECE)
    writes = {
        "encode": partial(write_encoding, network=network),
        "forward": partial(write_forward, stages=stages, in_dim=in_dim),
        "kept_forward": partial(write_kept_forward, stages=stages, layout=layout),
        "backward": partial(write_backward, stages=stages, layout=layout, in_dim=in_dim, input_gradient=False),
    }
    return [write_program(name, write, dtype, tangents=True) for name, write in writes.items()]


def test_training_on_gradients_compiles_without_spills(tmp_path):
    knobs = pytest.importorskip("triton").knobs
    if not knobs.nvidia.ptxas.path:
        pytest.skip("this triton has no ptxas")
    block, warps, _ = LAYOUTS[0]
    for program in training_programs(isdf(num_layers=2, **KINDS["eugen"])):
        kernel = compiled(program, block, warps)
        assert kernel.metadata.shared <= SHARED_BYTES
        assert stack_bytes(kernel.asm["cubin"], tmp_path / "kernel.cubin") == 0


@pytest.mark.parametrize("name", ["eugen", "dense"])
def test_training_reads_and_writes_rows_many_bytes_at_a_time(name):
    """Two bytes at a time would be eight times as many instructions; the starts of rows, values and tiles are multiples
    of 16 columns, so that none is needed."""
    knobs = pytest.importorskip("triton").knobs
    if not knobs.nvidia.ptxas.path:
        pytest.skip("this triton has no ptxas")
    block, warps, _ = LAYOUTS[0]
    programs = training_programs(isdf(num_layers=2, **KINDS[name]))
    for program in programs:
        assert not re.findall(r"ld\.global\S*\.b16", compiled(program, block, warps).asm["ptx"])
    kept = compiled(programs[2], block, warps).asm["ptx"]
    assert "st.global.v4" in kept and not re.findall(r"st\.global\S*\.b16", kept)
