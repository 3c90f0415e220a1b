#!/usr/bin/env bash
# Set-up and the benchmarks. A call that was broken off goes on where it stopped.
#   scripts/benchmark.sh [flags]   the quick form of all of them, about half an hour on two CPU cores; the flags go to
#                                  eugen-bench all (--output FOLDER, --scene, --seed, --device)
#   scripts/benchmark.sh --gpu [FOLDER] [flags]
#                                  a CUDA device in stages, ten minutes at most: kernels against float64, networks,
#                                  training to 30 dB, frames, signed distance, a capture. Results go to FOLDER, or to
#                                  outputs/benchmark/gpu, each as soon as it is known, and at the end one report.
#     --python PYTHON              this interpreter, as it is: no set-up, no .venv, no network
#     --limit SECONDS              for all stages together (600)
#     --cache FOLDER               of compiled kernels, which may come from another computer (FOLDER/kernels)
#     --stages NAME...             some stages alone
#     --device cpu                 all stages at tiny sizes on a CPU, to try them
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  -h|--help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac

# threads that wait asleep: spinning ones are slow wherever something else runs too
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}

if [ "${1:-}" != --gpu ]; then
  scripts/setup.sh
  exec .venv/bin/eugen-bench all "$@"
fi

shift
python=""
words=()
while [ $# -gt 0 ]; do
  case "$1" in
    --python)
      python=${2:-}
      if ! command -v "$python" >/dev/null 2>&1; then
        echo "benchmark: --python ${python:-(nothing)} cannot be run; give the path of a Python with torch and nerfstudio" >&2
        exit 1
      fi
      shift 2 ;;
    *) words+=("$1"); shift ;;
  esac
done
if [ -z "$python" ]; then
  scripts/setup.sh
  python=.venv/bin/python
fi
exec "$python" scripts/benchmark_gpu.py ${words[@]+"${words[@]}"}
