"""What /metrics tells of the media workers and of the agents' lines."""

from dataclasses import replace

from media.pool import Facts, WorkerStats
from web.medialegs import media_samples
from web.metrics import exposition

LINE = Facts(
    connected=True,
    level_in=-30.0,
    level_out=-20.0,
    speaking=True,
    muted=False,
    lost=0.02,
    lost_at_browser=0.0,
    jitter_ms=3.0,
    buffer_ms=12.0,
    rtt_ms=None,
    packets_in=990,
    packets_out=1000,
    recovered=5,
    concealed=10,
    patch_sent=0,
    patch_received=0,
    patch_unsent=0,
)


def test_lines_are_told_by_their_mean_and_their_worst() -> None:
    workers = [WorkerStats(0, 100, 2, 1, 0.4, 0, "fast"), WorkerStats(1, 101, 0, 0, 0.2, 0, "stock")]
    lines = [LINE, replace(LINE, lost=0.06, rtt_ms=40.0, concealed=0)]
    text = exposition(media_samples(workers, lines))
    for wanted in (
        "takeover_media_workers_stock 1",
        "takeover_lines 2",
        'takeover_line_lost_ratio{of="mean"} 0.04',
        'takeover_line_lost_ratio{of="worst"} 0.06',
        'takeover_line_rtt_ms{of="worst"} 40.0',
        'takeover_line_concealed_ratio{of="worst"} 0.01',
    ):
        assert wanted in text.splitlines(), wanted


def test_without_lines_there_are_no_figures_of_them() -> None:
    assert "takeover_line_" not in exposition(media_samples([], []))
