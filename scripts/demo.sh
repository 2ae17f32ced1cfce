#!/usr/bin/env bash
# Compiles ResNet-18 for the Pynq-Z1 board's VDLA, simulates it to the cycle and writes a report to out/.
# Further arguments go to `vdla run`, e.g. `bash scripts/demo.sh --set vdla.block_out=32`.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
exec .venv/bin/vdla run resnet18 --config pynq-z1 --sim cycle --report out/ "$@"
