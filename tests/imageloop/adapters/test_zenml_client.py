"""What is changed in libraries for the time of a command."""

import importlib.metadata

from imageloop.adapters import zenml_client


def test_a_monitor_opens_the_stack_for_every_run_without_a_leak(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "packages_distributions", importlib.metadata.packages_distributions)
    zenml_client._remember_packages.cache_clear()
    for _ in range(2000):
        zenml_client._remember_packages()

    assert "numpy" in importlib.metadata.packages_distributions()
