#!/usr/bin/env bash
# Set-up and the main job: trains a field on the scene that ships, scores it, exports a mesh.
# All flags go to scripts/demo.py; see scripts/demo.sh --help.
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
"$project/scripts/setup.sh"
exec "$project/.venv/bin/python" "$project/scripts/demo.py" "$@"
