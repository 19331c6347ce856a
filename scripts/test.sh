#!/bin/sh
# Set up everything, then lint, check the format, check the types and run the tests. Arguments are handed to pytest.
# Every check runs even when an earlier one fails; the tests come last.
set -eu
CDPATH='' cd -- "$(dirname -- "$0")/.."
. scripts/environment.sh

status=0
.venv/bin/ruff check || status=1
.venv/bin/ruff format --check || status=1
.venv/bin/pyright --project pyproject.toml || status=1
.venv/bin/pytest "$@" || status=1
exit "$status"
