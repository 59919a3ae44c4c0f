"""ZenML materializers: how artifacts are stored, and how the dashboard shows them."""
