"""Measuring how well a model predicts a text: cross-entropy in nats, bits and perplexity."""
