"""A jobwire app whose functions run in worker processes."""

from jobwire import App
from server import apart

app = App(title="Workers", executor="process", max_processes=3)

for function in (apart.echo, apart.fail_late, apart.pid, apart.shout, apart.steps):
    app.endpoint(function)
for function in (apart.sleep, apart.hold_lock, apart.start_child, apart.generate):
    app.endpoint(concurrency_limit=None)(function)

app.endpoint(name="here", executor="thread")(apart.pid)
