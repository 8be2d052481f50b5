"""The version, read from the installed package: pyproject.toml is its one source."""

from importlib.metadata import version

VERSION = version("textgen")
