#!/usr/bin/env bash
# Set-up and the main job: trains a field on the scene that ships, scores it, exports a mesh, a field file
# and a web page.
# All flags go to scripts/demo.py; see scripts/demo.sh --help.
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
"$project/scripts/setup.sh"
# threads that wait asleep: spinning ones are slow wherever something else runs too
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
exec "$project/.venv/bin/python" "$project/scripts/demo.py" "$@"
