"""The demo loop: traffic, drift and retraining on one machine."""
