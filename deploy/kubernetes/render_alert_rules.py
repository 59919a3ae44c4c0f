"""Prometheus' rules as the operator's resource: python deploy/kubernetes/render_alert_rules.py writes base/rules.yaml."""

from pathlib import Path

import yaml

BASE = Path(__file__).parent / "base"
RULES = Path(__file__).parents[1] / "observability" / "prometheus" / "rules"


def render() -> str:
    """Write one PrometheusRule that holds every group of rules."""
    groups = [group for file in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(file.read_text())["groups"]]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "imageloop"},
        "spec": {"groups": groups},
    }
    note = "# Written by deploy/kubernetes/render_alert_rules.py from deploy/observability/prometheus/rules.\n"
    return note + yaml.safe_dump(rule, sort_keys=False, width=130)


if __name__ == "__main__":
    (BASE / "rules.yaml").write_text(render())
