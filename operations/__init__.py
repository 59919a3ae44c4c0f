"""What each command does, as functions that return frozen dataclasses."""
