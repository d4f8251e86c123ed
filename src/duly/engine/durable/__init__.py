"""What an attempt does that outlasts it: steps, waits, iterations, children, effects."""
