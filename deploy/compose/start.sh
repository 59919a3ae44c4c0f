#!/usr/bin/env bash
# The container `imageloop`: prepares the site, and runs the monitor until it is stopped.
set -euo pipefail
cd "$(dirname "$0")/../.."
pids=()
finish() {
  trap - TERM INT EXIT
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" || true; done
  python run.py down --keep || true
}
trap 'finish; exit 0' TERM INT
trap finish EXIT

keep() { # keep COMMAND... &: starts it again when it ends; the container goes on
  child=
  trap 'kill -TERM "$child" 2>/dev/null || true; wait "$child" || true; exit 0' TERM
  while true; do
    "$@" &
    child=$!
    wait "$child" || true
    printf "'%s' ended, and is started again\n" "$*" >&2
    sleep 5 &
    child=$!
    wait "$child" || true
  done
}

source=()
if compgen -G '/images/*' >/dev/null; then source=(data.source='{kind: folder, path: /images}'); fi

until deploy/compose/prepare.sh "${source[@]/#/--set=}"; do # the container goes on, and with it the network that Prometheus shares
  echo "the site could not be made ready, and is tried again" >&2
  sleep 10
done

keep python deploy/observability/start_prometheus.py --folder "$IMAGELOOP_HOME/observability" --beside "${IMAGELOOP_ALERTMANAGER:-http://alertmanager:9093}" &
pids+=($!)
keep python run.py watch --config configs/monitor.yaml "${source[@]/#/--set=training.}" &
pids+=($!)
wait "${pids[@]}"
