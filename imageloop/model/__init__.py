"""The model package: its format, its runtime and its signature."""
