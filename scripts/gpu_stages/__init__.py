"""The stages of scripts/gpu_check.py that measure; each is a process, python -m gpu_stages NAME ..."""
