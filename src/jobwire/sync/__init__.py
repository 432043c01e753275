"""The plain face of `client`: the same names, blocking, from any thread."""
