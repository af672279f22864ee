"""Hostile input, seen from outside: raw sockets in front of and behind a running gateway.

A test carries in its name the row of the catalogue that it shows (m09, u03, x04, f01). `refusals` holds what is true of
every refusal; every test ends with a fresh device that is served (`tests.gateway`).
"""
