"""Recurrent networks: their equations, the same fast, a language model and a regressor made of them."""
