#!/usr/bin/env bash
# Set-up and the tests. Arguments go to pytest: scripts/test.sh -m slow, scripts/test.sh tests/layers
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
exec .venv/bin/python -m pytest "$@"
