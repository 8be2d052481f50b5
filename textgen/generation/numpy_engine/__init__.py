"""The network in NumPy, for generation on a CPU without torch."""
