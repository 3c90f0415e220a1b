#!/usr/bin/env bash
# Set-up and the tests: all quick ones, in two processes, then pages in a browser.
# Arguments go to pytest instead: scripts/test.sh -m slow, scripts/test.sh tests/layers
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
# threads that wait asleep: spinning ones are slow wherever something else runs too
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
if [ $# -gt 0 ]; then
  exec .venv/bin/python -m pytest "$@"
fi
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m "not slow and not browser" --numprocesses 2 --dist loadfile
.venv/bin/python -m pytest -m "browser and not slow"
