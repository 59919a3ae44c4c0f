"""Steps from a trained model to a registered version."""
