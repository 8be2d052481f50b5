"""What can be set: options, the sections that hold them, and what the user gave."""
