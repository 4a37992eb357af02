"""Hypothesis strategies read off the wire models, so a new kind or field is tested the day it is declared."""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shared.messages import Batch

M = TypeVar("M", bound=BaseModel)

LONGEST_DRAWN = 6
"""Of lists. Their bounds have tests of their own."""


@cache
def instances(model: type[M]) -> st.SearchStrategy[M]:
    """Any valid value of `model`; optional fields are sometimes left out."""
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for name, info in model.model_fields.items():
        strategy = _of(info.annotation, info.metadata)
        fields = required if info.is_required() else optional
        fields[name] = strategy
    repair = REPAIRS.get(model, _as_drawn)
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: model(**repair(fields)))


def _as_drawn(fields: dict[str, Any]) -> dict[str, Any]:
    return fields


def _with_positions_that_agree(fields: dict[str, Any]) -> dict[str, Any]:
    first = min(fields["first_seq"], 2**62)
    return fields | {
        "first_seq": first,
        "latest": max(fields["latest"], first - 1 + len(fields["records"])),
        "missing_from": min(fields.get("missing_from", 0), first - 1),
        "is_fork": fields.get("is_fork", False) or not fields["records"],
    }


REPAIRS: dict[type[BaseModel], Callable[[dict[str, Any]], dict[str, Any]]] = {
    Batch: _with_positions_that_agree
}
"""For models whose fields must agree with one another."""


def _of(annotation: Any, metadata: Sequence[Any]) -> st.SearchStrategy[Any]:
    bounds = {type(item): item for item in metadata}
    pattern = next((item.pattern for item in metadata if getattr(item, "pattern", None)), None)
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        return _of(inner, [*metadata, *_unpacked(more)])
    if origin in (Union, UnionType):
        return st.one_of(*(_of(part, ()) for part in get_args(annotation)))
    if origin is Literal:
        return st.sampled_from(get_args(annotation))
    least = bounds[MinLen].min_length if MinLen in bounds else 0
    most = bounds[MaxLen].max_length if MaxLen in bounds else None
    if origin is tuple and get_args(annotation)[-1] is not Ellipsis:
        return st.tuples(*(_of(part, ()) for part in get_args(annotation)))
    if origin is tuple:
        size = min(most or LONGEST_DRAWN, LONGEST_DRAWN)
        return st.lists(_of(get_args(annotation)[0], ()), min_size=least, max_size=size).map(tuple)
    if annotation is NoneType:
        return st.none()
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(bounds[Ge].ge, bounds[Le].le)
    if annotation is float:
        lowest = bounds[Ge].ge if Ge in bounds else None
        return st.floats(min_value=lowest, allow_nan=False, allow_infinity=False)
    if annotation is bytes:
        return st.binary(min_size=least, max_size=min(most or 64, max(least, 64)))
    if annotation is str and pattern is not None:
        return st.from_regex(pattern.removeprefix("^").removesuffix("$"), fullmatch=True)
    if annotation is str:
        return st.text(st.characters(codec="utf-8"), min_size=least, max_size=most)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return st.sampled_from(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return instances(annotation)
    raise NotImplementedError(f"no strategy for {annotation!r} with {metadata!r}")


def _unpacked(metadata: Sequence[Any]) -> list[Any]:
    """What pydantic's `Field(...)` inside `Annotated` stands for."""
    found: list[Any] = []
    for item in metadata:
        found += item.metadata if isinstance(item, FieldInfo) else [item]
    return found
