#!/usr/bin/env bash
# MLflow's server with a login: what it wants in a file comes from the environment.
set -euo pipefail
umask 077
cat >/tmp/auth.ini <<INI
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///$HOME/users.db
admin_username = admin
admin_password = $MLFLOW_PASSWORD
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
export MLFLOW_AUTH_CONFIG_PATH=/tmp/auth.ini
exec python -m mlflow server --app-name basic-auth --host "${MLFLOW_BIND:-0.0.0.0}" --port "${MLFLOW_BIND_PORT:-5000}"
