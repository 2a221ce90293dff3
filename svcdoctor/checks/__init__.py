"""The catalogue of faults: one module per family, one pure function per finding."""
