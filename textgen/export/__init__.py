"""Runs in other forms: one HTML page, and what else formats.py lists. Nothing here loads torch."""
