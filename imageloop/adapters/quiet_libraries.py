"""Turn off telemetry, colours and warnings of libraries, before they are imported."""

import os
import warnings

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def quiet_libraries() -> None:
    """Call it before libraries are imported; their messages go to the log file."""
    os.environ.setdefault("ZENML_ANALYTICS_OPT_IN", "false")
    os.environ.setdefault("ZENML_ENABLE_RICH_TRACEBACK", "false")
    os.environ.setdefault("ZENML_LOGGING_COLORS_DISABLED", "true")
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    warnings.simplefilter("ignore")


def never_proxy_loopback() -> None:
    """Exempt this machine from the proxy of the environment, for this process and those that it starts.

    A proxy cannot reach the loopback of this machine: gateway, admin, supervisor and servers would look dead.
    """
    for name in ("no_proxy", "NO_PROXY"):
        hosts = [host for host in os.environ.get(name, "").split(",") if host.strip()]
        os.environ[name] = ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
