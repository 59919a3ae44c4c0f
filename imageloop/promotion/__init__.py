"""Evaluation, calibration and the gates before a version becomes champion."""
