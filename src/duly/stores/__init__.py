"""What is remembered: the protocol in `base`, the model in `memory`, one engine a database."""
