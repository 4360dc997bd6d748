"""An editorial desk: reads a folder of texts, writes a brief about it, and asks a human before it files the report."""
