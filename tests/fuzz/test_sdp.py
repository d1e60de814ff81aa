"""Any text as an offer: answered, or refused with a reason; never anything else."""

from hypothesis import given, settings
from hypothesis import strategies as st

from media import sdp
from media.sdp import BadOffer, Local
from tests.unit.media.test_sdp import CHROME, FINGERPRINT, RECORDED, TWO_LINES

LOCAL = Local("ufr1", "p" * 22, [("sha-256", FINGERPRINT)], [], 77, "cn")
OFFERS = [CHROME, TWO_LINES, *RECORDED.values()]
_lines = st.sampled_from([line for offer in OFFERS for line in offer.split("\r\n")])


def answered(text: str) -> str | None:
    try:
        return sdp.answer(sdp.parse(text), LOCAL)
    except BadOffer:
        return None


@given(st.text(max_size=500))
def test_any_text(text: str) -> None:
    answered(text)


@given(st.lists(_lines, max_size=60))
def test_lines_in_any_order_and_number(lines: list[str]) -> None:
    answered("\r\n".join(lines))


@settings(max_examples=300)
@given(st.sampled_from(OFFERS), st.data())
def test_an_offer_with_a_damaged_place(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 40)))
    answer = answered(text[:start] + data.draw(st.text(max_size=40)) + text[end:])
    if answer is not None:
        lines = answer.split("\r\n")
        assert lines.count("a=rtcp-mux") == 1
        assert sum(line.startswith("a=setup:") for line in lines) == 1
        assert all(line[1:2] == "=" for line in lines[:-1])
        assert not any(c in answer.replace("\r\n", "") for c in "\r\n\x00")
