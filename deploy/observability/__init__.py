"""Prometheus rules, Alertmanager routes and Grafana dashboards."""
