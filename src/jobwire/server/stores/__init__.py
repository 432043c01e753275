"""Where the queue and the jobs' events are kept."""
