"""The step that searches settings of a training."""
