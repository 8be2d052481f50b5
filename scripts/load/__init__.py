"""The parts of serve_load.py."""
