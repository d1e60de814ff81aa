"""Turns pydantic's complaints into ours: field, value and remedy, for API bodies and settings alike."""

import difflib
import json
from collections.abc import Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .errors import Fault

_SECRET_NAMES = ("password", "secret", "token", "key")
_SHOWN = 80
"""Characters of a refused value that are shown: enough to recognise it, too few to flood a log."""


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """All faults of one validation, in pydantic's order (that of the fields)."""
    return [_fault(detail, model) for detail in error.errors(include_url=False)]


def shown(value: object) -> str:
    """A value as a person may be shown it: JSON where it has a form in JSON, cut off after 80 characters."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def _fault(detail: ErrorDetails, model: type[BaseModel]) -> Fault:
    location = _path(model, detail["loc"])
    if location[-1:] == ["[key]"]:  # a name in a map, which stands in front of this already
        del location[-1]
    kind = detail["type"]
    path = ".".join(location)
    if kind == "missing":
        return Fault(path, "", "it is missing; add it")
    if kind == "extra_forbidden":
        return Fault(path, shown(location[-1]), _unknown_field(location[-1], _known(model, detail["loc"][:-1])))
    if detail["input"] is None and path and kind in ("dict_type", "model_type", "model_attributes_type"):
        return Fault(path, "", "it is empty; give what belongs there, or leave it out")
    context = detail.get("ctx", {})
    if context.get("discriminator") == "'kind'":  # the value at fault is one field, not the whole part with its secrets
        if kind == "union_tag_not_found":
            return Fault(f"{path}.kind", "", "it is missing; add it")
        return Fault(f"{path}.kind", shown(context["tag"]), f"use one of {context['expected_tags']}")
    value = "***" if _is_secret(location) else shown(detail["input"])
    if isinstance(detail["input"], str):  # texts with a check of their own are measured like lists
        kind = {"too_long": "string_too_long", "too_short": "string_too_short"}.get(kind, kind)
    return Fault(path, value, _remedy(kind, context, detail["msg"]))


def _path(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The way to a field as it is written; pydantic puts the kind of a part between its name and its fields."""
    here: Any = model
    path = []
    for part in location:
        of_kind = _of_kind(here, part)
        if of_kind is None:
            path.append(str(part))
        here = of_kind or _step(here, part)
    return path


def _of_kind(annotation: object, part: int | str) -> type[BaseModel] | None:
    """The member of a union that says of itself, in its field `kind`, that it is this."""
    for one in _models(annotation):
        field = one.model_fields.get("kind")
        if field is not None and part in get_args(field.annotation) and part not in one.model_fields:
            return one
    return None


def _is_secret(location: Sequence[str]) -> bool:
    return any(part == name or part.endswith("_" + name) for part in location for name in _SECRET_NAMES)


def _unknown_field(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"there is no such field; did you mean {close[0]!r}?"
    if known:
        return f"there is no such field; known are {', '.join(sorted(known))}"
    return "there is no such field; remove it"


def _remedy(kind: str, context: dict[str, Any], message: str) -> str:
    match kind:
        case "enum" | "literal_error":
            return f"use {context['expected']}"
        case "string_too_long":
            return f"use at most {context['max_length']} characters"
        case "string_too_short":
            return f"use at least {context['min_length']} character{'s' if context['min_length'] > 1 else ''}"
        case "string_pattern_mismatch":
            return f"it must match {context['pattern']}"
        case "too_long":
            return f"give at most {context['max_length']} of them"
        case "too_short":
            return f"give at least {context['min_length']} of them"
        case "json_invalid":
            return f"send valid JSON ({context['error']})"
        case "union_tag_invalid":
            return f"{context['discriminator']} must be one of {context['expected_tags']}"
        case "union_tag_not_found":
            return f"say {context['discriminator']}"
        case "value_error":
            return str(context["error"])
        case "tuple_type" | "list_type":
            return "give a list, like [one, other]"
        case "int_type" | "int_parsing" | "int_from_float":
            return "give a whole number"
        case "float_type" | "float_parsing":
            return "give a number"
        case "bool_type" | "bool_parsing":
            return "say true or false"
        case "string_type":
            return "give a text, in quotes"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "it must be an object with named fields"
    return message.replace("Input should", "it should", 1)


def _known(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Names of the fields at a path, as far as the models tell."""
    here: Any = model
    for part in location:
        here = _of_kind(here, part) or _step(here, part)
    found = _models(here)
    return [field.alias or name for one in found for name, field in one.model_fields.items()]


def _step(annotation: object, part: int | str) -> object:
    for one in _models(annotation):
        if isinstance(part, str) and part in one.model_fields:
            return one.model_fields[part].annotation
    arguments = getattr(annotation, "__args__", ())
    return arguments[-1] if arguments else None  # the values of a map, the members of a list


def _models(annotation: object) -> list[type[BaseModel]]:
    if get_origin(annotation) is Annotated:
        return _models(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [
        argument
        for argument in getattr(annotation, "__args__", ())
        if isinstance(argument, type) and issubclass(argument, BaseModel)
    ]
