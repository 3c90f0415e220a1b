#!/usr/bin/env bash
# Set-up and the tests. Arguments go to pytest: scripts/test.sh -m slow, scripts/test.sh tests/layers
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
# threads that wait asleep: spinning ones are slow wherever something else runs too
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
exec .venv/bin/python -m pytest "$@"
