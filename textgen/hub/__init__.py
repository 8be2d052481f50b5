"""Runs on the Hugging Face Hub: push one there, and use one from there by hf:USER/NAME."""
