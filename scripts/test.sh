#!/usr/bin/env bash
# The project's checks: lint, format, import layers, types, tests. Further arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh test
export PATH="$PWD/.venv/bin:$PATH"
ruff check --quiet .
ruff format --check --quiet .
lint-imports
pyright
exec pytest -q -n 2 "$@"
