#!/usr/bin/env bash
# Set-up and the benchmarks. A call that was broken off goes on where it stopped.
#   scripts/benchmark.sh [flags]   the quick form of all of them, about half an hour on two CPU cores; the flags go to
#                                  eugen-bench all (--output FOLDER, --scene, --seed, --device)
#   scripts/benchmark.sh --gpu [FOLDER]
#                                  on a CUDA device, in under ten minutes where a dozen cores compile: the tests of the
#                                  kernels first, and only if they pass layers, training to 30 dB, and frames. Results
#                                  go to FOLDER, or to outputs/benchmark/gpu. Needs an NVIDIA GPU with 12 GB.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  -h|--help) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac

# threads that wait asleep: spinning ones are slow wherever something else runs too
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

if [ "${1:-}" != --gpu ]; then
  scripts/setup.sh
  exec .venv/bin/eugen-bench all "$@"
fi

scripts/setup.sh --dev
output=${2:-outputs/benchmark/gpu}
if ! .venv/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "benchmark: torch finds no CUDA device; leave --gpu out to measure the CPU, or mend the driver (nvidia-smi)" >&2
  exit 1
fi
bench=.venv/bin/eugen-bench
mkdir -p "$output"
.venv/bin/python -c 'import torch; print(torch.cuda.get_device_name(), torch.version.cuda, torch.__version__)'

echo "== correctness of the kernels"
processes=$(($(nproc) < 12 ? $(nproc) : 12))  # most of the time goes to the compiler
EUGEN_TEST_DEVICES=${CUDA_VISIBLE_DEVICES:-0} .venv/bin/python -m pytest tests/kernels --numprocesses "$processes"

{
  echo "== layers"
  $bench layers --device cuda --network field --mode inference --dtype bfloat16 \
    --layer dense eugen prp prp-hadamard --width 64 128 256 --num-features 16 32 64 128 --order 1 2 --batch 1048576 \
    --backend eager fused --rounds 20 --json "$output/layers.json"
  $bench layers --device cuda --network trunk --mode training --dtype bfloat16 --layer dense eugen prp --width 256 \
    --num-features 32 64 --order 1 --train-batch 262144 --backend eager fused --rounds 20 --json "$output/layers.json"
  echo "== training to 30 dB"
  $bench train --device cuda --method eugen-nerf --layer dense eugen prp dense:backend=fused eugen:backend=fused \
    --budget time --seconds 30 --checkpoints 15 --curve-views 2 --views 5 --goal 30 --output "$output/runs" \
    --json "$output/train.json"
  echo "== frames"
  # shellcheck disable=SC2046
  $bench render $(.venv/bin/python -c '
import json, sys
print(*[run["run"] for run in json.load(open(sys.argv[1]))["runs"]])' "$output/train.json") \
    --device cuda --sizes 400 800 --json "$output/render.json"
} 2> >(tee "$output/progress.log" >&2) | tee "$output/report.md"
echo "written to $output/report.md"
