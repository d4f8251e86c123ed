"""What is true: states, decisions and time, without I/O, clock, randomness or logging."""
