"""Reproducible images for Python ML apps."""
