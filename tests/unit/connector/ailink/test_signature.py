"""The signature of webhooks."""

import pytest

from connector.ailink import sign, verify

SECRET = "a secret of thirty characters."
BODY = '{"id":"1","text":"é"}'.encode()


def test_a_signature_is_what_the_documentation_says() -> None:
    """A fixed vector, so that receivers written against it go on working."""
    assert sign("0123456789abcdef01234567", b'{"id":"1"}', 1_700_000_000) == (
        "t=1700000000,v1=89ec39bdb3f5f26ea4b7501d7b222c8c8cee0b3b226bc2af3fae492d5e68f844"
    )


def test_only_the_body_that_was_signed_passes_and_only_for_a_while() -> None:
    header = sign(SECRET, BODY, 1_000_000)
    assert verify(SECRET, header, BODY, 1_000_000 + 299.0)
    assert not verify(SECRET, header, BODY + b" ", 1_000_000)
    assert not verify(SECRET + "x", header, BODY, 1_000_000)
    assert not verify(SECRET, header, BODY, 1_000_301)
    assert not verify(SECRET, header, BODY, 1_000_000 - 301)
    assert not verify(SECRET, header.replace("1000000", "1000001"), BODY, 1_000_001), "the time is signed too"


@pytest.mark.parametrize("header", ["", "t=1", "v1=00", "t=x,v1=" + "0" * 64, "t=1,v1=" + "g" * 64, "t=1,v1=0,v1=1"])
def test_a_header_of_another_form_is_refused(header: str) -> None:
    assert not verify(SECRET, header, BODY, 1)
