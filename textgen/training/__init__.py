"""Batches become a trained run: budget, schedule, optimizer, checkpoints and the loop that drives them."""
