"""ZenML pipelines: the order of the steps."""
