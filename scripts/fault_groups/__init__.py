"""Groups of attacks on textgen, and what they share; scripts/faults.py runs them."""
