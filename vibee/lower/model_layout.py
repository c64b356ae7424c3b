"""Where every parameter of a model lies in its one flat array of weights.

Parameters stand in the order of their declaration, each from a whole cache line on; one per
layer means L copies one after the other.  The gap up to the next line is zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..tree.defs import Model, Weight
from ..tree.expr import Expr, const
from ..tree.poly import Sizes
from .plan import aligned


@dataclass(slots=True)
class Place:
    """One parameter's part of the flat array."""

    weight: Weight
    offset: Expr
    copies: Expr | None  # None if it isn't one per layer
    size: Expr  # elements of one copy
    total: Expr  # elements of all copies
    end: Expr  # where the next parameter starts


def layout(model: Model) -> list[Place]:
    """The places of all parameters."""
    sizes = Sizes(model.given)
    places = []
    offset: Expr = const(0, "i64")
    for w in model.weights:
        copies = w.copies if w.layered else None
        size = sizes.numel(w.shape)
        total = size if copies is None else sizes.numel((*w.shape, copies))
        room = aligned(sizes.expr(total))
        end = room if offset.op == "const" and offset.attr == 0 else Expr("add", (offset, room), None, "i64")
        places.append(Place(w, offset, copies, sizes.expr(size), sizes.expr(total), end))
        offset = end
    return places


def weights_length(model: Model) -> Expr:
    """P: the length of the flat array."""
    places = layout(model)
    return places[-1].end if places else const(0, "i64")


def gaps(places: list[Place]) -> Iterator[tuple[Expr, Expr]]:
    """The unused elements behind each parameter, as half-open ranges."""
    for p in places:
        used = Expr("add", (p.offset, p.total), None, "i64")
        yield used, p.end
