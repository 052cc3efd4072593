"""Architectures as data: search spaces, layers, heads, networks of the literature. No torch."""
