"""Users' functions, called in threads."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from conftest import Eventually
from jobwire import Client
from jobwire.sync import callbacks
from jobwire.sync.callbacks import MAX_THREADS, CallbackThreads


def later(delay: float, fn: Callable[[], object]) -> None:
    timer = threading.Timer(delay, fn)
    timer.daemon = True
    timer.start()


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[CallbackThreads]:
    monkeypatch.setattr(callbacks, "KEEP", 0.05)
    made = CallbackThreads(later)
    yield made
    deadline = time.monotonic() + 10
    while made._threads:  # only while they are needed
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not made._calls
    assert not made._ready


def test_order_is_kept_for_each_key(threads: CallbackThreads) -> None:
    got: dict[int, list[int]] = {key: [] for key in range(20)}
    done = threading.Event()
    for number in range(100):
        for key, list_ in got.items():
            threads.call(key, lambda list_=list_, number=number: list_.append(number))  # type: ignore[misc]
    threads.call("last", done.set)
    assert done.wait(10)
    deadline = time.monotonic() + 10
    while any(len(list_) < 100 for list_ in got.values()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert all(list_ == [*range(100)] for list_ in got.values())


def test_slow_one_holds_up_what_has_its_key_and_nothing_else(threads: CallbackThreads) -> None:
    go, others, same = threading.Event(), threading.Event(), threading.Event()
    threads.call("slow", lambda: go.wait(10))
    threads.call("slow", same.set)
    threads.call("other", others.set)
    assert others.wait(5)
    assert not same.is_set()
    go.set()
    assert same.wait(5)


def test_threads_are_bounded(threads: CallbackThreads) -> None:
    go = threading.Event()
    running: list[int] = []
    last = threading.Event()

    def block(number: int) -> None:
        running.append(number)
        go.wait(10)

    for number in range(MAX_THREADS + 5):
        threads.call(number, lambda number=number: block(number))  # type: ignore[misc]
    threads.call("last", last.set)
    deadline = time.monotonic() + 10
    while len(running) < MAX_THREADS:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert threads._threads == MAX_THREADS
    assert not last.wait(0.1)
    go.set()
    assert last.wait(5)
    assert sorted(running) == [*range(MAX_THREADS + 5)]


def test_one_thread_does_for_many_quick_ones(threads: CallbackThreads) -> None:
    used: set[int] = set()
    for key in range(1000):
        threads.call(key, lambda: used.add(threading.get_ident()))
    done = threading.Event()
    threads.call("last", done.set)
    assert done.wait(10)
    assert len(used) < MAX_THREADS / 2


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_what_fails_is_logged_and_harms_nobody(
    threads: CallbackThreads, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()

    def fail() -> None:
        raise error

    threads.call("key", fail)
    threads.call("key", done.set)
    assert done.wait(5)
    assert "a callback failed" in caplog.text


def test_slow_callback_of_a_job_holds_up_no_other_job(client: Client) -> None:
    go, late = threading.Event(), threading.Event()
    slow = client.submit("x", api_name="/echo", result_callbacks=lambda _: go.wait(10))
    slow.add_done_callback(lambda _: late.set())
    slow.result(20)
    done = threading.Event()
    client.submit("y", api_name="/echo", result_callbacks=lambda _: done.set()).result(20)
    assert done.wait(5)
    assert not late.is_set()
    go.set()
    assert late.wait(5)


def test_no_thread_is_kept_that_nobody_needs(client: Client, eventually: Eventually) -> None:
    done = threading.Event()
    client.submit("x", api_name="/echo", result_callbacks=lambda _: done.set())
    assert done.wait(20)
    eventually(lambda: all(t.name != "jobwire-callbacks" for t in threading.enumerate()))
