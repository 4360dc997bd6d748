"""The journal: what a saver stores, and the savers themselves."""
