"""A Service under observation: what changes, what is unavailable, from when to when."""
