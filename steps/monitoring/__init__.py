"""Steps of a scheduled monitoring run."""
