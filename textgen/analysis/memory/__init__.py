"""Measures how far back gradients reach and how much context a network uses."""
