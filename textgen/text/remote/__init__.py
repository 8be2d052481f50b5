"""Texts on other machines: a URL is fetched once, into the cache, and read from there like any file."""
