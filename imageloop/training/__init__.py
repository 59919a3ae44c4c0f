"""Models, augmentation and the training loop."""
