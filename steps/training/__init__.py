"""Steps that train a model and find label issues."""
