"""Embeddings of images, with which novelty and drift are measured."""
