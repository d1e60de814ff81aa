"""What can go wrong with the media side, as its callers see it.

MediaError
 |- LegRefused    the offer cannot be answered; `reason` says why
 |- Overloaded    no worker has room or is on time
 |- LegNotReady   `reason`: no-such-leg connecting no-microphone worker-late already-patched
 '- WorkerFailed  a worker does not start
"""


class MediaError(Exception):
    """See the module docstring."""


class LegRefused(MediaError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"the browser's offer is refused: {reason}")
        self.reason = reason


class Overloaded(MediaError):
    pass


class LegNotReady(MediaError):
    def __init__(self, leg: str, reason: str) -> None:
        super().__init__(f"leg {leg} is not ready: {reason}")
        self.reason = reason


class WorkerFailed(MediaError):
    pass
