"""Generating text: from a network's logits to tokens, and from tokens to text."""
