"""Recurrent networks: equations of the cells, fast layers, a language model and a regressor."""
