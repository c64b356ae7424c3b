"""Where every parameter of a model lies in its one flat array of weights.

Parameters stand in the order of their declaration, without gaps; one per layer means L copies
one after the other.  (Sizes that are multiples of 16 make every one start at a cache line.)
"""

from __future__ import annotations

from dataclasses import dataclass

from ..tree.defs import Model, Weight
from ..tree.expr import Expr, const
from ..tree.poly import Poly, Sizes, add


@dataclass(slots=True)
class Place:
    """One parameter's part of the flat array."""

    weight: Weight
    offset: Expr
    size: Expr  # elements of one copy
    total: Expr  # elements of all copies
    end: Expr  # where the next parameter starts


def layout(model: Model) -> list[Place]:
    """The places of all parameters."""
    sizes = Sizes(model.given)
    places = []
    offset: Poly = {}
    for w in model.weights:
        size = sizes.numel(w.shape)
        total = size if w.copies is None else sizes.numel((*w.shape, w.copies))
        end = add(offset, total)
        places.append(Place(w, *map(sizes.expr, (offset, size, total, end))))
        offset = end
    return places


def weights_length(model: Model) -> Expr:
    """P: the length of the flat array."""
    places = layout(model)
    return places[-1].end if places else const(0, "i64")
