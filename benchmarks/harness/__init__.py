"""What `run.py` is made of. Needs nothing but the standard library."""
