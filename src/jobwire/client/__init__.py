"""The client, asynchronous: the only implementation; `sync` gives it a plain face."""
