"""One module per line of the results; each measures one thing and adds its figures."""
