"""Kubernetes manifests of the stack, and the program that renders them."""
