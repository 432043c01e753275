"""The wire protocol without I/O: bytes in, decisions out.

Nothing here opens a socket, reads a clock, starts a thread or rolls a die; a test
reads the imports to see that it stays so.
"""
