"""A look inside a run while it reads."""
