"""What is wrong with a request, in the words of this house: expected, got, and the nearest.

The shapes of the API are pydantic's, and so are the errors it finds; their wording is for whoever
writes shapes. Here it becomes what a caller needs: a name that is not known is answered with the
names that are, a value that cannot be with those that can, what is missing by its name. Quotes no
more of a request than a line, and never more of it than the part that is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from duly.errors import LONGEST_MISNOMER, brief, one_line

Told = dict[str, str]
"""One thing that is wrong: where, expected, got, and nearest where something is near."""

_LEAD = re.compile(r"^(?:Value error, )?(?:(?:Input|String|List|Value|Data)\w* should )?(?:be )?")
_LEADS = {
    "have ": "",
    "match pattern": "text that matches",
    "greater than": "a number greater than",
    "less than": "a number less than",
}
_QUOTED = re.compile(r"'([^']*)'")
_MOST_NAMES = 12


def troubles(errors: Iterable[Mapping[str, Any]], route: object) -> list[Told]:
    """Return what is wrong, one entry an error; `route` is the one that was asked."""
    return [_trouble(one, route) for one in errors]


def _trouble(one: Mapping[str, Any], route: object) -> Told:
    loc: Sequence[str | int] = one["loc"]
    told = {"where": ".".join(str(part) for part in loc)}
    match one["type"]:
        case "extra_forbidden":
            names = _names(_shape(route, loc))
            told |= {"expected": _one_of("a name", names), "got": brief(str(loc[-1]))}
            return told | _near(str(loc[-1]), names)
        case "missing":
            return told | {"expected": _wanted(loc), "got": "nothing"}
        case "enum" | "literal_error":
            values = _QUOTED.findall(str(one.get("ctx", {}).get("expected", "")))
            told |= {"expected": _one_of("a value", values), "got": brief(one.get("input"))}
            return told | _near(str(one.get("input")), values)
    return told | {"expected": _said(one_line(one["msg"])), "got": brief(one.get("input"))}


def _said(message: str) -> str:
    """Return what was expected, as a thing: `a number less than 5`, not `Input should be …`."""
    said = _LEAD.sub("", message, count=1)
    for lead, ours in _LEADS.items():
        if said.startswith(lead):
            return ours + said.removeprefix(lead)
    return said


def _wanted(loc: Sequence[str | int]) -> str:
    if len(loc) == 1:
        return "a JSON object" if loc[0] == "body" else f"a {loc[0]}"
    return f"{loc[-1]}, which must be said"


def _one_of(what: str, known: Sequence[str]) -> str:
    if not known:
        return f"{what} that is known here"
    more = ", …" if len(known) > _MOST_NAMES else ""
    return f"one of {', '.join(known[:_MOST_NAMES])}{more}"


def _near(name: str, known: Sequence[str]) -> Told:
    close = get_close_matches(name[:LONGEST_MISNOMER], known, n=1, cutoff=0.6)
    return {"nearest": close[0]} if close else {}


# --- shapes -------------------------------------------------------------------------------------


def _shape(route: object, loc: Sequence[str | int]) -> type[BaseModel] | None:
    """Return the shape that a name is looked for in; None where it has no fixed names."""
    dependant = getattr(route, "dependant", None)
    fields = getattr(dependant, f"{loc[0]}_params", ())
    shape = next((_model(one.field_info.annotation) for one in fields), None)
    for part in loc[1:-1]:
        if shape is None or isinstance(part, int):
            continue  # an item of a list is of the shape that the list is of
        found = [one for name, one in shape.model_fields.items() if part in (name, one.alias)]
        shape = _model(found[0].annotation) if found else None
    return shape


def _model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((one for part in get_args(annotation) if (one := _model(part)) is not None), None)


def _names(shape: type[BaseModel] | None) -> list[str]:
    if shape is None:
        return []
    return sorted(one.alias or name for name, one in shape.model_fields.items())
