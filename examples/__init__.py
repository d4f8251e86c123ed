"""Examples: small whole programs to copy, each with a story that tries to break it."""
