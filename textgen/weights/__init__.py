"""Weights as NumPy arrays: their names and shapes, and the files that hold them. No torch."""
