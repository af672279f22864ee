"""Fuzzers, one for each parser of what strangers send. Each file says how to run it."""
