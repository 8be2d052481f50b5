"""The sections of scripts/benchmark.py, one file each, and how all of them measure."""
