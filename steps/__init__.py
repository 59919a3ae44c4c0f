"""ZenML steps: thin wrappers of the core."""
