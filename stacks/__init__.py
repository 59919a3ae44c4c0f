"""ZenML stacks as files, and the program that registers them."""
