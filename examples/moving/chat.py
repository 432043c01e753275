"""Talk with a chat app: ``python chat.py URL``."""

import sys
import time

from gradio_client import Client

client = Client(sys.argv[1], verbose=False)

# Word by word.
job = client.submit("hello there", api_name="/reply")
for answer in job:
    print(answer.strip())
print(job.outputs()[-1] == job.result(), job.done(), job.status().code.name)

# Ask now and then.
job = client.submit("how are you", api_name="/reply")
while not job.done():
    status = job.status()
    if status.success is False:
        break
    time.sleep(0.05)
print(job.result().strip(), job.status().success)

# Enough.
job = client.submit("for ever", api_name="/reply")
while len(job.outputs()) < 3:
    time.sleep(0.05)
job.cancel()
print(job.outputs()[:3])

# A new conversation.
client.reset_session()
print(client.predict("still there?", api_name="/reply").strip())

try:
    client.predict("x", api_name="/no_such_endpoint")
except ValueError:
    print("no such endpoint")
try:
    client.predict("x", wrong=1, api_name="/reply")
except TypeError:
    print("no such parameter")
