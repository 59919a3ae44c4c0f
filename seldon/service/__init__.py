"""The HTTP routes, messages, metrics and limits of the prediction service."""
