"""One module per kind of trouble; each trial takes a place and a scale, and returns a report."""
