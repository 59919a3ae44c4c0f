"""Adapters to MLflow, ZenML, DVC, alerters and external tools."""
