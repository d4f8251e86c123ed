"""A long morning batch that publishes every price to a queue, and survives its host."""
