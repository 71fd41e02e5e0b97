#!/usr/bin/env bash
# Builds the API reference from the docstrings into site/ (or the folder given), with pdoc: pip install -e ".[docs]".
# A warning is an error.
set -euo pipefail
site=$(realpath -m "${1:-site}")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python -W error::UserWarning -W error::RuntimeWarning -m pdoc --docformat google --output-directory "$site" \
    slowfast_zoo '!slowfast_zoo.cli' '!slowfast_zoo.__main__'
