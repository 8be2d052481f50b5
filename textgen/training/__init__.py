"""Training a run: budget, schedule, optimizer, checkpoints, and the loop that drives them."""
