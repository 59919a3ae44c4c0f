"""Images from their sources to validated, deduplicated and split training data."""
