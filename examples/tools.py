"""Some of what an app can do: jobwire serve examples/tools.py"""

import csv
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from jobwire import App, AppError, Progress, Session, log

app = App(title="Tools", description="Small functions of many kinds.")


@app.endpoint(concurrency_limit=2)
def count(n: Annotated[int, Meta(ge=0, le=1000)], progress: Progress) -> Iterator[str]:
    """Count up to a number, with a progress bar.

    Args:
        n: How far.
    """
    for i in progress.track(range(n), desc="counting"):
        time.sleep(0.1)
        yield f"{i}"


@dataclass
class Row:
    name: str
    amount: float = 0.0


@app.endpoint
def total(rows: list[Row], currency: Literal["EUR", "USD"] = "EUR") -> str:
    """Add up some amounts."""
    if not rows:
        raise AppError("there is nothing to add up", title="Empty")
    if any(row.amount < 0 for row in rows):
        log.warning("some amounts are negative")
    return f"{sum(row.amount for row in rows):.2f} {currency}"


@app.endpoint(time_limit=60)
def transpose(table: Path) -> Path:
    """Turn the rows of a CSV file into its columns."""
    with table.open(newline="") as file:
        rows = list(csv.reader(file))
    turned = Path(tempfile.mkdtemp()) / f"turned-{table.name}"
    with turned.open("w", newline="") as file:
        csv.writer(file).writerows(zip(*rows, strict=True))
    return turned


@app.endpoint
async def remember(word: str, session: Session) -> list[str]:
    """Return all the words of this session."""
    words: list[str] = session.state.setdefault("words", [])
    words.append(word)
    return words


@app.endpoint(batch=True, max_batch_size=16)
def shout(text: list[str]) -> list[str]:
    """Take up to sixteen calls at once."""
    return [each.upper() for each in text]


if __name__ == "__main__":
    app.launch()
