"""Noise suppression for all sessions of a tick at once: a taught net, or a classical filter where it cannot be used."""

import logging
from functools import cache
from pathlib import Path

from .classical import Classical
from .neural import BadWeights, Neural, load
from .suppressor import Suppressor

log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).with_name("weights.npz")


@cache
def shipped() -> Suppressor:
    """The best that this installation has; made once a process, as the sessions share it."""
    return best(WEIGHTS)


def best(weights: Path) -> Suppressor:
    """The net of that file; the classical filter where the file is of no use, and the log says why."""
    try:
        return load(weights)
    except BadWeights as fault:
        log.warning("noise suppression is the classical one, which removes less: %s; install the package again", fault)
        return Classical()


__all__ = ["WEIGHTS", "BadWeights", "Classical", "Neural", "Suppressor", "best", "load", "shipped"]
