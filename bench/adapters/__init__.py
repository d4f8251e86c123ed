"""One file per product that is measured; each runs under the Python its product is installed in."""
