#!/usr/bin/env bash
# Makes .venv in the project root with everything the project needs. Running it again is harmless and quick.
#   scripts/setup.sh          what running needs
#   scripts/setup.sh --dev    also what the tests need
# PYTHON=/path/to/python3.11 chooses the interpreter.
# uv installs, pip where uv cannot; the index is the one that uv's or pip's settings name.
set -euo pipefail
cd "$(dirname "$0")/.."

log=""
ticker=""
say() { printf 'setup: %s\n' "$*"; }
# end STATUS: ends the script, and leaves nothing behind
end() {
  stop_ticker
  [ -z "$log" ] || rm -f "$log"
  exit "$1"
}
fail() { say "$@" >&2; end 1; }
stop_ticker() {
  [ -n "$ticker" ] || return 0
  kill "$ticker" 2>/dev/null || true
  ticker=""
}
trap 'fail "interrupted; run this again to go on"' INT TERM

extras=""
for argument in "$@"; do
  case "$argument" in
    --dev) extras="[dev]" ;;
    -h|--help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
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
  local libraries library
  libraries=$(ldconfig -p 2>/dev/null || true)
  for library in libusb-1.0.so.0:libusb-1.0-0 libgomp.so.1:libgomp1 libGL.so.1:libgl1 libglib-2.0.so.0:libglib2.0-0; do
    [[ $libraries == *${library%%:*}* ]] || printf '%s ' "${library#*:}"
  done
  command -v ffmpeg >/dev/null 2>&1 || printf 'ffmpeg '
}

log=$(mktemp)
# a program of its own: a subshell that is ended while it starts runs the traps of this script
TICKER='
  seconds=$3
  while sleep 15 >/dev/null 2>&1 && kill -0 "$1" 2>/dev/null; do
    seconds=$((seconds + 15))
    printf "setup: %s, %s s so far\n" "$2" "$seconds"
  done
'

# run WHAT COMMAND...: runs the command with its output in the log; every 15 seconds a line says what takes so long.
run() {
  local what=$1 status=0
  shift
  # its sleep gets no output of ours: whoever reads it would wait for a sleep that outlives its loop
  sh -c "$TICKER" ticker "$$" "$what" "$SECONDS" </dev/null &
  ticker=$!
  disown "$ticker"  # or bash says that it was terminated
  "$@" >"$log" 2>&1 || status=$?
  stop_ticker
  return "$status"
}

# The cause of a failure as far as the log tells it; nothing where it does not.
diagnosis() {
  if grep -qiE 'No space left' "$log"; then
    echo "the disk is full; free about 9 GB and run this again"
  elif grep -qiE 'name resolution|NewConnectionError|ConnectTimeout|dns error|network is unreachable|error sending request|Could not connect|ProxyError' "$log"; then
    echo "the package index cannot be reached; check the network (or PIP_INDEX_URL) and run this again"
  elif grep -qiE 'ensurepip|python3.*-venv' "$log"; then
    echo "$python has no venv module; install it (Debian and Ubuntu: apt-get install python3-venv) and run this again"
  fi
}

explain() {
  local cause
  cause=$(diagnosis)
  tail -n 15 "$log" >&2
  fail "${cause:-installing failed; the last lines are above. Fix the cause and run this again}"
}

apt_install() {
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

if [ "$(uname -s)" = Linux ]; then
  packages=$(missing_packages)
  if [ -n "$packages" ]; then
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
      say "installing system packages: $packages"
      # shellcheck disable=SC2086
      run "installing system packages" apt_install $packages \
        || say "could not install them; mesh export or video may fail until this works: apt-get install $packages" >&2
    else
      say "missing system packages, please install: $packages" >&2
    fi
  fi
fi

stamp=".venv/.setup-$( [ -n "$extras" ] && echo dev || echo run )"
wanted=$(cat pyproject.toml scripts/constraints.txt | cksum)
if [ -x .venv/bin/python ]; then
  for done_stamp in "$stamp" .venv/.setup-dev; do
    [ -f "$done_stamp" ] && [ "$(cat "$done_stamp")" = "$wanted" ] && end 0
  done
fi

python=$(find_python)
free_kb=$(df -Pk . | awk 'NR==2 {print $4}')
if [ ! -d .venv/lib ] && [ "$free_kb" -lt 9000000 ]; then
  fail "only $((free_kb / 1000000)) GB free here; the environment needs about 9 GB (torch brings its CUDA libraries)"
fi

pip() { .venv/bin/python -m pip "$@"; }
pip_install() { pip install -q --disable-pip-version-check -c scripts/constraints.txt "$@"; }
need_pip() {
  [ -x .venv/bin/python ] && pip --version >/dev/null 2>&1 || run "making .venv" "$python" -m venv .venv || explain
}

# The uv to install with: the one on PATH, or one that pip puts into .venv; nothing where none is to be had.
uv=""
find_uv() {
  if uv=$(command -v uv); then
    [ -x .venv/bin/python ] || run "making .venv" "$uv" venv -q --python "$python" .venv || explain
    return
  fi
  need_pip
  uv=.venv/bin/uv
  [ -x "$uv" ] || run "getting uv" pip_install uv || {
    [ -z "$(diagnosis)" ] || explain
    uv=""
  }
}

# uv does not read pip's configuration: it is told the indices, folders of wheels and certificates that pip was told.
# What else pip knows (a proxy, hosts to trust) is what the fall-back is for.
configure_uv() {
  local settings index extra links certificate
  settings=$(pip config list 2>/dev/null || "$python" -m pip config list 2>/dev/null || true)
  setting() {  # on one line, whose words are separated by single spaces
    sed -nE "/^(:env:|global|install)\.$1='/{s/^[^']*'(.*)'\$/\1/; s/\\\\n/ /g; s/^ *//; s/ *\$//; s/  */ /g; p; q}" <<<"$settings"
  }
  index=$(setting index-url) extra=$(setting extra-index-url) links=$(setting find-links) certificate=$(setting cert)
  if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ] && [ -n "$index" ]; then export UV_DEFAULT_INDEX=$index; fi
  if [ -z "${UV_INDEX:-}${UV_EXTRA_INDEX_URL:-}" ] && [ -n "$extra" ]; then
    export UV_INDEX=$extra UV_INDEX_STRATEGY=${UV_INDEX_STRATEGY:-unsafe-best-match}  # as pip: the best of all
  fi
  if [ -z "${UV_FIND_LINKS:-}" ] && [ -n "$links" ]; then export UV_FIND_LINKS=${links// /,}; fi
  if [ -z "${SSL_CERT_FILE:-}" ] && [ -n "$certificate" ]; then export SSL_CERT_FILE=$certificate; fi
  export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-120}
}

uv_install() { "$uv" pip install -q --python .venv/bin/python --compile-bytecode -c scripts/constraints.txt "$@"; }

say "installing into .venv with $("$python" --version) (some minutes the first time)"
find_uv
installed=""
if [ -n "$uv" ]; then
  configure_uv
  if run "installing with uv" uv_install -e ".$extras"; then
    installed=yes
  elif grep -qi 'No space left' "$log"; then
    explain
  else
    tail -n 5 "$log" >&2
    say "uv could not install; trying pip" >&2
  fi
else
  say "uv is not to be had here; installing with pip, which takes longer"
fi
if [ -z "$installed" ]; then
  need_pip
  run "installing with pip" pip_install -e ".$extras" || explain
fi
run "importing torch and nerfstudio for the first time" .venv/bin/python -c 'import torch, nerfstudio' || explain
echo "$wanted" > "$stamp"
say "done in $SECONDS s"
end 0
