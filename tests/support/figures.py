"""Statistics of measured times, in the one shape that every bench prints."""

import math
from collections.abc import Iterable
from typing import TypedDict


class Spread(TypedDict):
    """Milliseconds."""

    p50: float
    p95: float
    max: float


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest measured value that at least `share` of all do not exceed: never one between two measurements."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no value was measured")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread(values_ms: Iterable[float]) -> Spread | None:
    """Median, 95th percentile and maximum, rounded to 0.1 ms; None where nothing was measured."""
    values = list(values_ms)
    if not values:
        return None
    return {
        "p50": round(quantile(values, 0.50), 1),
        "p95": round(quantile(values, 0.95), 1),
        "max": round(max(values), 1),
    }
