#!/usr/bin/env bash
# Register the stack, train where there is no champion (with the options that are given), serve it or what served before.
set -euo pipefail
mkdir -p "$ZENML_REPOSITORY_PATH"
python deploy/compose/create_bucket.py
python stacks/apply.py --activate compose stacks/compose.yaml
versions=$(python run.py versions --json) # on its own line, so that a registry that does not respond stops the script before any training
champion=$(python -c 'import json, sys; print(json.load(sys.stdin)["champion"] or "")' <<<"$versions")
if [[ -z $champion ]]; then
  python run.py train "$@"
fi
python run.py deploy --resume
