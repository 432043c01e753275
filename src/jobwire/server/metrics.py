"""What the server measures of itself, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jobwire.server.errors import UnavailableError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from jobwire.server.service import Service

__all__ = ("render",)


class _Collector:
    """Reads the numbers when somebody asks, so counting costs jobs nothing."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        service = self._service
        jobs = CounterMetricFamily(
            "jobwire_jobs", "Jobs that ended.", labels=["endpoint", "outcome"]
        )
        seconds = CounterMetricFamily(
            "jobwire_function_seconds", "Seconds that functions ran.", labels=["endpoint"]
        )
        for endpoint in service.endpoints.values():
            for outcome, count in endpoint.counts.items():
                jobs.add_metric([endpoint.label, outcome], count)
            seconds.add_metric([endpoint.label], endpoint.seconds)
        yield jobs
        yield seconds
        for name, text, value in (
            ("waiting", "Jobs that wait.", service.store.waiting()),
            ("running", "Functions that run.", service.queue.running),
            ("sessions", "Sessions that are kept.", len(service.channels)),
            ("uptime_seconds", "Since the first request.", time.monotonic() - service.started),
        ):
            yield GaugeMetricFamily(f"jobwire_{name}", text, value)


def render(service: Service) -> tuple[bytes, str]:
    """Return the metrics as text, and its media type.

    Raises:
        UnavailableError: ``prometheus_client`` is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"this needs {error.name}: pip install 'jobwire[metrics]'"
        ) from error
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(service))
    return generate_latest(registry), CONTENT_TYPE_LATEST
