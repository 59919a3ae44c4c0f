"""Write Grafana's JSON from dashboards.yml, one file a dashboard: python deploy/observability/grafana/render_dashboards.py."""

import json
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT, ACROSS = 12, 8, 2


def render(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Make one dashboard in the form that Grafana imports."""
    deployments = {
        "name": "deployment", "type": "query", "datasource": SOURCE, "query": "label_values(imageloop_requests_total, deployment)",
        "includeAll": True, "multi": True, "current": {"text": "All", "value": "$__all"}, "refresh": 2,
    }  # fmt: skip
    return {
        "uid": f"imageloop-{name}",
        "title": spec["title"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [deployments]},
        "panels": [_panel(index, panel) for index, panel in enumerate(spec["panels"])],
    }


def _panel(index: int, spec: dict[str, Any]) -> dict[str, Any]:
    row, column = divmod(index, ACROSS)
    targets = [
        {"refId": chr(ord("A") + number), "expr": query, "legendFormat": legend, "datasource": SOURCE}
        for number, (legend, query) in enumerate(spec["queries"].items())
    ]
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": spec["title"],
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": spec["unit"]}, "overrides": []},
        "targets": targets,
    }


def render_all() -> dict[Path, str]:
    """Make the content of every dashboard file, by file name."""
    dashboards = yaml.safe_load((FOLDER / "dashboards.yml").read_text())
    return {
        FOLDER / "dashboards" / f"{name}.json": json.dumps(render(name, dashboard), indent=1) + "\n"
        for name, dashboard in dashboards.items()
    }


if __name__ == "__main__":
    for file, text in render_all().items():
        file.write_text(text)
