"""Prometheus' text format (version 0.0.4), for the few figures that the house counts itself."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One metric with its values by labels."""

    name: str
    help: str
    kind: Literal["gauge", "counter"]
    values: Mapping[Labels, float]


@dataclass(slots=True)
class Requests:
    """Answers by method, route and status."""

    by_route: Counter[Labels] = field(default_factory=Counter)
    seconds: float = 0.0

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answer."""
        self.by_route[("method", method), ("route", route), ("status", str(status))] += 1
        self.seconds += seconds

    def samples(self) -> list[Sample]:
        """As metrics."""
        return [
            Sample("takeover_http_requests_total", "Answers by route", "counter", dict(self.by_route)),
            Sample("takeover_http_seconds_total", "Time spent on them", "counter", {(): self.seconds}),
        ]


def gauge(name: str, help: str, value: float, **labels: str) -> Sample:  # noqa: A002 - Prometheus' own word
    """A gauge with one value."""
    return Sample(name, help, "gauge", {tuple(labels.items()): value})


def exposition(samples: Iterable[Sample]) -> str:
    """The text that Prometheus reads."""
    lines = []
    for sample in samples:
        lines += [f"# HELP {sample.name} {sample.help}", f"# TYPE {sample.name} {sample.kind}"]
        lines += [f"{sample.name}{_labels(labels)} {value}" for labels, value in sample.values.items()]
    return "\n".join(lines) + "\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
