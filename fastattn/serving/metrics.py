"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """A registry of its own, so that two servers in one process count apart."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "fastattn_requests", "Requests that were answered.", ["path", "method", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "fastattn_request_seconds",
            "Time of a request, from its headers to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=registry,
        )
        self.texts = Counter("fastattn_texts", "Texts that were translated.", ["model"], registry=registry)
        self.batch_texts = Histogram("fastattn_batch_texts", "Texts that shared a batch.", buckets=TEXTS, registry=registry)
        self.batch_seconds = Histogram(
            "fastattn_batch_seconds", "Time that a batch took to compute.", buckets=SECONDS, registry=registry
        )
        self._waiting = Gauge("fastattn_waiting_texts", "Texts that wait for their batch.", registry=registry)

    def watch(self, waiting: Callable[[], int]) -> None:
        """Where the number of waiting texts is asked for."""
        self._waiting.set_function(waiting)

    def add_request(self, path: str, method: str, status: int, seconds: float) -> None:
        self.requests.labels(path, method, str(status)).inc()
        self.request_seconds.labels(path).observe(seconds)

    def add_batch(self, texts: int, seconds: float) -> None:
        self.batch_texts.observe(texts)
        self.batch_seconds.observe(seconds)

    def text(self) -> bytes:
        """All of it in the text format of Prometheus."""
        return generate_latest(self.registry)
