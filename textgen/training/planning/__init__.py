"""Everything that is chosen before the first step."""
