"""Writing text: a network's logits become tokens, tokens become text."""
