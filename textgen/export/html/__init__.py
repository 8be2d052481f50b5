"""The model as one HTML page."""
