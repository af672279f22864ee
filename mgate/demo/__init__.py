"""`mgate demo`."""
