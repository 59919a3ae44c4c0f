"""Steps from the source to prepared, versioned data."""
