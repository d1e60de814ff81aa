"""Errors: facts, a slug, and a sentence."""

import inspect
import re

import pytest

from connector.domain import errors
from connector.domain.errors import AlreadyTaken, BadValue, PbxTimeout, TakeoverError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, TakeoverError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_in_the_tree_of_the_docstring(kind: type[TakeoverError]) -> None:
    assert re.search(rf"\b{kind.__name__}\b", errors.__doc__ or "")


def test_slugs_read_as_in_the_api() -> None:
    assert AlreadyTaken("main~1", "Anna").slug == "already-taken"
    assert PbxTimeout("main", "engage", 6).slug == "pbx-timeout"


def test_sentences_name_field_value_and_remedy() -> None:
    assert str(BadValue("digits", "x", "use 0-9")) == "digits: 'x' is not accepted; use 0-9"
    assert str(PbxTimeout("main", "engage", 6)) == "PBX 'main' did not answer engage within 6 s"
