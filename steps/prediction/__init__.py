"""Steps of a batch prediction."""
