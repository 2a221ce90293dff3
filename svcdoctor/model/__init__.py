"""Plain values that all packages share; see the modules."""
