#!/usr/bin/env bash
# Set-up and the tests: the quick ones in two processes, then pages in a browser.
#   scripts/test.sh           everything but the tests marked e2e or slow, within six minutes on two cores
#   scripts/test.sh -m fast   layers, encodings, sampling and fields alone, within a minute; more arguments may follow
#   scripts/test.sh -m e2e    trainings to a result, and commands in processes of their own; four minutes
# Other arguments go to pytest as they are: scripts/test.sh -m slow, scripts/test.sh tests/layers -k fold
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh --dev
# threads that wait asleep: spinning ones are slow wherever something else runs too
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-PASSIVE}
export PYTHONDONTWRITEBYTECODE=  # a dozen processes import the same modules: they are compiled once
in_two_processes() {
  OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses 2 --dist loadfile "$@"
}
if [ "$*" = "-m fast" ] || [[ "$*" = "-m fast "* ]]; then
  # the folders are named as well, so that pytest does not import the others
  in_two_processes "$@" tests/layers tests/encodings tests/sampling tests/fields
elif [ "$*" = "-m e2e" ]; then
  in_two_processes -m "e2e and not slow"
elif [ $# -gt 0 ]; then
  exec .venv/bin/python -m pytest "$@"
else
  in_two_processes -m "not e2e and not slow and not browser"
  # pages last and alone; the files are named, so that pytest does not import the others
  # shellcheck disable=SC2046
  .venv/bin/python -m pytest -m "browser and not slow" $(grep -lrE 'support(\.| import )(view_)?browser' tests --include='test_*.py')
fi
