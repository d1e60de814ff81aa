"""What /metrics tells of the media workers and of the agents' lines."""

from dataclasses import replace

from media.pool import Facts, Totals, WorkerStats
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
    concealed=8,
    patch_sent=0,
    patch_received=0,
    patch_unsent=0,
    played=985,
    stretched=2,
)
TOTALS = Totals({"played": 7000, "recovered": 30, "noise": 12, "patch_unsent": 1}, refused=3, workers_lost=1)


def test_lines_are_told_by_their_mean_and_their_worst() -> None:
    workers = [WorkerStats(0, 100, 2, 1, 0.4, 0, "fast"), WorkerStats(1, 101, 0, 0, 0.2, 4, "stock", admits=False)]
    lines = [LINE, replace(LINE, lost=0.06, rtt_ms=40.0, concealed=0, stretched=0, microphone=False, echo=True)]
    text = exposition(media_samples(workers, lines, TOTALS))
    for wanted in (
        "takeover_media_workers_stock 1",
        "takeover_lines 2",
        'takeover_line_lost_ratio{of="mean"} 0.04',
        'takeover_line_lost_ratio{of="worst"} 0.06',
        'takeover_line_rtt_ms{of="worst"} 40.0',
        'takeover_line_concealed_ratio{of="worst"} 0.01',
        'takeover_media_admits{worker="0"} 1.0',
        'takeover_media_admits{worker="1"} 0.0',
        'takeover_media_skipped_ticks_total{worker="1"} 4.0',
        "takeover_media_refused_total 3",
        "takeover_media_workers_lost_total 1",
        "takeover_lines_silent 1",
        "takeover_lines_echo 1",
        'takeover_line_frames_total{outcome="played"} 7000',
        'takeover_line_frames_total{outcome="recovered"} 30',
        'takeover_line_frames_total{outcome="comfort_noise"} 12',
        'takeover_line_frames_total{outcome="missing"} 0',
        'takeover_patch_frames_total{direction="unsent"} 1',
    ):
        assert wanted in text.splitlines(), wanted


def test_without_lines_there_are_no_figures_of_them() -> None:
    assert "takeover_line_lost" not in exposition(media_samples([], [], TOTALS))
