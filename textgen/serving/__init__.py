"""Serving runs over HTTP."""
