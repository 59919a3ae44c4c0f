"""Prediction and feedback records, and the database that stores them."""
