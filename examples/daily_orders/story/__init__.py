"""What `run.py` tries the example with: a faulty mail server, instances, load, a judge."""
