"""Simulated fleets: the product's own engine, under a clock and a chance that a seed decides."""
