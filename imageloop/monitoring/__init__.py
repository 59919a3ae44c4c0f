"""Drift, novelty, performance from ground truth, and decisions of the monitor."""
