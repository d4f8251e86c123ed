"""Measurements of Duly, beside its peers and the machine's own limit. Nothing asserts a time."""
