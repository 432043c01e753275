"""``jobwire.Client``."""

from __future__ import annotations

from measuring import run_blocking

from jobwire import Client

if __name__ == "__main__":
    run_blocking(Client, is_accepted=lambda job: job.event_id is not None)
