#!/usr/bin/env bash
# Set-up and the tests: all quick ones in two processes, then pages in a browser.
#   scripts/test.sh           everything but the tests marked slow
#   scripts/test.sh -m fast   layers, encodings, sampling and fields alone, within a minute; more arguments may follow
# Other arguments go to pytest as they are: scripts/test.sh -m slow, scripts/test.sh tests/layers -k fold
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
# threads that wait asleep: spinning ones are slow wherever something else runs too
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
in_two_processes() {
  OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses 2 --dist loadfile "$@"
}
if [ "$*" = "-m fast" ] || [[ "$*" = "-m fast "* ]]; then
  # the folders are named as well, so that pytest does not import the others
  in_two_processes "$@" tests/layers tests/encodings tests/sampling tests/fields
elif [ $# -gt 0 ]; then
  exec .venv/bin/python -m pytest "$@"
else
  in_two_processes -m "not slow and not browser"
  # the files are named, so that pytest does not import the others
  # shellcheck disable=SC2046
  .venv/bin/python -m pytest -m "browser and not slow" $(grep -lrE 'support(\.| import )(view_)?browser' tests --include='test_*.py')
fi
