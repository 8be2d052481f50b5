"""Settings: options, the config dataclasses that hold them, and the options that the user gave."""
