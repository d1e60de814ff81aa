"""The real FreeSWITCH, where one is installed."""

from tests.support.freeswitch import freeswitch

__all__ = ["freeswitch"]
