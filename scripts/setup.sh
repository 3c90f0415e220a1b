#!/usr/bin/env bash
# Makes .venv in the project root with everything the project needs. Running it again is harmless and quick.
#   scripts/setup.sh          what running needs
#   scripts/setup.sh --dev    also what the tests need
# PYTHON=/path/to/python3.11 chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

extras=""
for argument in "$@"; do
  case "$argument" in
    --dev) extras="[dev]" ;;
    -h|--help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown option $argument (there is --dev)" ;;
  esac
done

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.10 python3 python; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    if "$candidate" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
    [ "$candidate" = "${PYTHON:-}" ] && fail "PYTHON=$candidate is $("$candidate" --version 2>&1); Python 3.10, 3.11 or 3.12 is needed"
  done
  fail "no Python 3.10, 3.11 or 3.12 found; install one, or name it with PYTHON=/path/to/python3.11"
}

# System libraries: open3d loads libusb and libgomp, OpenCV loads libGL and glib, video export runs ffmpeg.
missing_packages() {
  local library
  for library in libusb-1.0.so.0:libusb-1.0-0 libgomp.so.1:libgomp1 libGL.so.1:libgl1 libglib-2.0.so.0:libglib2.0-0; do
    ldconfig -p 2>/dev/null | grep -q "${library%%:*}" || printf '%s ' "${library#*:}"
  done
  command -v ffmpeg >/dev/null 2>&1 || printf 'ffmpeg '
}

if [ "$(uname -s)" = Linux ]; then
  packages=$(missing_packages)
  if [ -n "$packages" ]; then
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
      echo "setup: installing system packages: $packages"
      # shellcheck disable=SC2086
      { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages; } >/dev/null 2>&1 \
        || echo "setup: could not install them; mesh export or video may fail until this works: apt-get install $packages" >&2
    else
      echo "setup: missing system packages, please install: $packages" >&2
    fi
  fi
fi

stamp=".venv/.setup-$( [ -n "$extras" ] && echo dev || echo run )"
wanted=$(cat pyproject.toml scripts/constraints.txt | cksum)
if [ -x .venv/bin/python ]; then
  for done_stamp in "$stamp" .venv/.setup-dev; do
    [ -f "$done_stamp" ] && [ "$(cat "$done_stamp")" = "$wanted" ] && exit 0
  done
fi

python=$(find_python)
free_kb=$(df -Pk . | awk 'NR==2 {print $4}')
if [ ! -d .venv/lib ] && [ "$free_kb" -lt 9000000 ]; then
  fail "only $((free_kb / 1000000)) GB free here; the environment needs about 9 GB (torch brings its CUDA libraries)"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
explain() {
  tail -n 15 "$log" >&2
  if grep -qiE 'No space left' "$log"; then
    fail "the disk is full; free about 9 GB and run this again"
  elif grep -qiE 'name resolution|NewConnectionError|ConnectTimeout|dns error|network is unreachable|error sending request|Could not connect|ProxyError' "$log"; then
    fail "the package index cannot be reached; check the network (or PIP_INDEX_URL) and run this again"
  elif grep -qiE 'ensurepip|python3.*-venv' "$log"; then
    fail "$python has no venv module; install it (Debian and Ubuntu: apt-get install python3-venv) and run this again"
  fi
  fail "installing failed; the last lines are above. Mend the cause and run this again"
}

echo "setup: installing into .venv with $("$python" --version) (a few minutes the first time)"
if command -v uv >/dev/null 2>&1; then
  [ -x .venv/bin/python ] || uv venv -q --python "$python" .venv >"$log" 2>&1 || explain
  uv pip install -q --python .venv/bin/python -c scripts/constraints.txt -e ".$extras" >"$log" 2>&1 || explain
else
  [ -x .venv/bin/python ] && .venv/bin/python -m pip --version >/dev/null 2>&1 \
    || "$python" -m venv .venv >"$log" 2>&1 || explain
  .venv/bin/python -m pip install -q --disable-pip-version-check -c scripts/constraints.txt -e ".$extras" >"$log" 2>&1 || explain
fi
.venv/bin/python -c 'import torch, nerfstudio' 2>"$log" || explain
echo "$wanted" > "$stamp"
echo "setup: done"
