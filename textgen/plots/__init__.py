"""Every picture that textgen draws."""
