#!/usr/bin/env bash
# On the GPU machine: install what `make wheelhouse` collected, and this repository, into a Python that has torch.
#   bash benchmarks/gpu/install_wheels.sh FOLDER [PYTHON]     FOLDER holds the files of all parts
set -euo pipefail
folder=$1
python=${2:-python3}
for first in "$folder"/*.whl.00; do
    [ -e "$first" ] || continue
    wheel=${first%.00}
    cat "$wheel".[0-9][0-9] > "$wheel"
    rm "$wheel".[0-9][0-9]
done
"$python" -m pip install --quiet --no-index --no-deps "$folder"/*.whl
"$python" -m pip install --quiet --no-index --no-deps --no-build-isolation -e "$(dirname "$0")/../.."
