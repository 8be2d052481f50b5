"""Shows what a network computes while it reads a text: surprisal, states, gates, and what units track."""
