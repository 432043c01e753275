"""Transcribe recordings, several at a time: ``python transcribe.py URL FOLDER FILE...``.

Writes a ``.txt`` and a ``.srt`` for each file into FOLDER.
"""

import shutil
import sys
from pathlib import Path
from queue import Queue

from gradio_client import Client, handle_file

url, folder, *files = sys.argv[1:]
finished: Queue[str] = Queue()


def note(text: str, subtitles: str) -> None:
    finished.put(text)


client = Client(url, verbose=False, download_files=folder)
jobs = {
    name: client.submit(
        handle_file(name),
        language="en",
        api_name="/transcribe",
        result_callbacks=note,
    )
    for name in files
}

for name, job in jobs.items():
    text, subtitles = job.result(timeout=60)
    out = Path(folder) / Path(name).with_suffix(".txt").name
    out.write_text(text)
    shutil.copy(subtitles, out.with_suffix(".srt"))
    print(f"{Path(name).name}: {text}")
print(sorted(finished.get(timeout=10) for _ in files))

try:
    client.predict(handle_file(files[0]), "xx", api_name="/transcribe")
except ValueError as error:
    print(f"refused: {error}")

again = [client.submit(audio=handle_file(name), api_name="/transcribe") for name in files]
print(sorted(job.result()[0] for job in again))
print([job.status().code.name for job in again], [job.status().success for job in again])
