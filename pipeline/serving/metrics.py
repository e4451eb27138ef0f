"""Metrics of a server, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class ServerMetrics:
    """The counters of one server, in a registry of their own."""

    def __init__(self, provider: str = "cpu") -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Histogram(
            "distill_request_seconds",
            "Time from a request's last byte to its answer's first, by route and status. "
            "Calls of gRPC are by method and code, to the end of the call's work.",
            ("route", "status"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.calls = Histogram(
            "distill_model_call_seconds",
            "Time of one call of the model.",
            ("model",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._add_queue()
        self.version = Gauge(
            "distill_model_version",
            "Number of the version that is served; 0 for a fixed bundle.",
            ("model", "bundle_sha256"),
            registry=registry,
        )
        self.provider = Gauge(
            "distill_provider",
            "Execution provider of onnxruntime that runs the models; always 1.",
            ("provider",),
            registry=registry,
        )
        self.provider.labels(provider).set(1)
        self.reloads = Counter(
            "distill_reloads",
            "Moves to a new champion: swapped, or failed and the old one kept.",
            ("model", "result"),
            registry=registry,
        )

    def _add_queue(self) -> None:
        self.batch_texts = Histogram(
            "distill_batch_texts",
            "Texts that one call of the model answered.",
            ("model",),
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.queue_texts = Gauge(
            "distill_queue_texts", "Texts that wait or run.", ("model",), registry=self.registry
        )
        self.dropped_texts = Counter(
            "distill_dropped_texts",
            "Texts that were not run because nobody waited for their answer any longer.",
            ("model",),
            registry=self.registry,
        )
        self.truncated_texts = Counter(
            "distill_truncated_texts",
            "Texts that were longer than the model reads, and were cut.",
            ("model",),
            registry=self.registry,
        )
