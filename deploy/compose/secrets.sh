#!/usr/bin/env bash
# Passwords of a new site, one for each server, added to .env beside compose.yaml:  deploy/compose/secrets.sh
# With a dash they are printed, and no file is written.
set -euo pipefail
umask 077
passwords() {
  for name in MYSQL_PASSWORD POSTGRES_PASSWORD ZENML_PASSWORD MLFLOW_PASSWORD MLFLOW_SECRET S3_SECRET GRAFANA_PASSWORD IMAGELOOP_API_KEY; do
    printf '%s=%s\n' "$name" "$(head -c 24 /dev/urandom | od -An -vtx1 | tr -d ' \n')"
  done
}
if [[ ${1:-} == - ]]; then
  passwords
  exit
fi
file=$(dirname "$0")/../../.env
if grep -qs '^MYSQL_PASSWORD=' "$file"; then
  echo "error: expected a .env without passwords, got some: the servers keep their first ones; remove them for a new site" >&2
  exit 1
fi
{ cat "$file" 2>/dev/null || true; passwords; } >"$file.new"
mv "$file.new" "$file"
