"""Databases for whatever keeps rows: SQL is written once as programs, and a driver per database runs them."""
