"""What is shown of a job: what came together is gathered, and nothing of it is lost."""

import dataclasses
from typing import Any

import pytest

from jobwire import Client, OutputUpdate, ProgressUnit, Status, StatusUpdate, Update
from jobwire.sync.view import JobView, fraction_of, where


def outputs_of(updates: list[Update]) -> list[Any]:
    return [update.outputs for update in updates if isinstance(update, OutputUpdate)]


def test_what_is_there_comes_at_once(client: Client) -> None:
    job = client.submit(500, api_name="/count")
    job.result()
    [batch] = job._gathered()
    assert batch == list(job.updates())
    assert len(outputs_of(batch)) == 501


def test_what_comes_together_is_gathered(client: Client) -> None:
    job = client.submit(40, 0.01, api_name="/count")
    batches = list(job._gathered())
    assert 1 < len(batches) < 20
    assert outputs_of([update for batch in batches for update in batch]) == [
        *job.outputs(),
        job.result(),
    ]
    assert batches[-1][-1] == job.status()


def status(code: Status, **fields: Any) -> StatusUpdate:
    return dataclasses.replace(StatusUpdate(code, None, None, None, None, None, None), **fields)


@pytest.mark.parametrize(
    ("update", "text"),
    [
        (status(Status.STARTING), "submitted"),
        (status(Status.JOINING_QUEUE), "accepted"),
        (status(Status.SENDING_DATA, progress_data=[ProgressUnit(1)]), "sending files"),
        (status(Status.SENDING_DATA), "sending arguments"),
        (status(Status.IN_QUEUE), "queued"),
        (status(Status.IN_QUEUE, rank=0, queue_size=3), "queued, next of 3 waiting"),
        (status(Status.IN_QUEUE, rank=2, eta=0.25), "queued, 2 ahead, 0.2 s to go"),
        (status(Status.PROCESSING, eta=1.5), "running, takes 1.5 s"),
        (status(Status.PROGRESS, eta=1.5, progress_data=[ProgressUnit(1)]), "running"),
        (status(Status.LOG), "running"),
        (status(Status.FINISHED, success=True), "finished"),
        (status(Status.FINISHED, success=False), "failed"),
        (status(Status.CANCELLED, success=False), "cancelled"),
    ],
)
def test_where_a_job_is(update: StatusUpdate, text: str) -> None:
    assert where(update) == text


def test_progress_on_one_line() -> None:
    view = JobView()
    units = [ProgressUnit(1, 4, "parts", None, "read"), ProgressUnit(progress=0.5), ProgressUnit()]
    view.take([status(Status.PROGRESS, progress_data=units)])
    assert view.line == "running, read: 1/4 parts, 50%"
    view.take([status(Status.FINISHED, success=True, progress_data=units)])
    assert view.line == "finished"


@pytest.mark.parametrize(
    ("told", "fraction"),
    [(0.5, 0.5), (-1.0, 0.0), (7.0, 1.0), (float("nan"), 0.0), (float("inf"), 1.0), (None, None)],
)
def test_bars_are_as_long_as_can_be(told: float | None, fraction: float | None) -> None:
    assert fraction_of(ProgressUnit(progress=told)) == fraction
