"""Whatever pool and worker say to each other must arrive as it was sent."""

import pytest

from media import messages as m

FACTS = m.Facts(True, -30.0, -20.0, True, False, 0.01, 0.0, 1.0, 9.0, None, 1, 2, 3, 4, 5, 6, 7)


@pytest.mark.parametrize(
    "message",
    [
        m.Configure(m.MediaSettings(udp_ports=(40000, 40100), ice_servers=(m.IceServer("turn:x", "u", "p"),))),
        m.Configure(m.MediaSettings()),
        m.Ping(3),
        m.OpenLeg(1, "a", "v=0\r\n"),
        m.SetLeg(2, "a", True, None, False),
        m.OpenPatch(3, "a", "b", 8000),
        m.Signal("a", False),
        m.Pong(3, 0.001, 0.002, 4),
        m.Opened(1, "v=0\r\n"),
        m.LegState("a", True, False),
        m.Quality("a", FACTS),
        m.PatchUp("a", "b", 1.5, 1.52),
    ],
)
def test_there_and_back(message: m.Command | m.Report) -> None:
    line = m.encode(message)
    assert line.count(b"\n") == 1
    assert m.decode(line) == message


@pytest.mark.parametrize("line", [b"[]\n", b'["Nothing", {}]\n', b'["Ping", {}]\n', b"nonsense\n"])
def test_what_we_did_not_write_is_refused(line: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        m.decode(line)
