#!/usr/bin/env bash
# Set-up and the tests: all quick ones, in two processes. Arguments go to pytest instead: scripts/test.sh -m slow,
# scripts/test.sh tests/layers
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
# threads that wait asleep: spinning ones are slow wherever something else runs too
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
if [ $# -eq 0 ]; then
  set -- --numprocesses 2 --dist loadfile
  export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
fi
exec .venv/bin/python -m pytest "$@"
