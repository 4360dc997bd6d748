"""Module paths that programs import from: the parts are elsewhere."""
