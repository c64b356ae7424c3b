"""Calls like one before.

Which instance a call means, what of it is passed where and in which shapes results are made, follows from the kinds of
its arguments alone.  So it is found once for each combination of kinds; the generated wrapper, which tests shapes,
memory and conditions, is then called at once.  What it refuses is looked at from the beginning, for a better message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from vibee.tree.defs import Definition, Param
from vibee.tree.expr import walk
from vibee.tree.types import DTYPES

from . import arrays
from .values import Unknown, value

if TYPE_CHECKING:
    from .function import Function

Kinds = tuple[Any, ...]

# What conditions on sizes and i64 are made of that means the same in 64 bits as in whole numbers without an end; a
# call of a definition with others goes the long way each time.
EXACT = {
    "const", "var", "load", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "min", "max", "floordiv", "mod",
}  # fmt: skip

# The Python numbers that generated code takes as they are, by the kind of a dtype.
NUMBERS = {"f": (float, int), "i": (int,), "u": (int,), "b": (bool,)}


@dataclass(frozen=True, slots=True)
class Again:
    """What a call with arguments of certain kinds does."""

    native: Callable[..., Any]
    order: Callable[[tuple[Any, ...]], tuple[Any, ...]]  # of arguments, results, defaults and threads, for native code
    more: tuple[Any, ...]  # the numbers that are not given
    made: list[tuple[str, list[tuple[int, int]]]] | None  # results: dtype, axes of arguments; None: given
    alone: bool  # is the result one array?
    gathered: Callable[[Sequence[Any], Any], Any]

    def __call__(self, args: tuple[Any, ...], outs: tuple[Any, ...], threads: int) -> Any:
        """The results of the call."""
        if self.made is not None:
            shapes = [(dtype, [args[k].shape[axis] for k, axis in axes]) for dtype, axes in self.made]
            outs = tuple([arrays.empty(shape, dtype) for dtype, shape in shapes])
        back = self.native(*self.order((*args, *outs, *self.more, threads)))
        return outs[0] if self.alone else self.gathered(outs, back)


def kinds(args: tuple[Any, ...], outs: tuple[Any, ...]) -> Kinds | None:
    """What the choice of an instance follows from; None where an argument must be looked at more closely."""
    found: list[Any] = [len(args)]
    for x in (*args, *outs):
        if type(x) is np.ndarray:
            if not x.flags.carray:  # C-contiguous, aligned and writable: nothing to test or to refuse
                return None
            found += (x.dtype, x.ndim)
        elif type(x) in (float, int, bool):
            found.append(type(x))
        else:
            return None
    return tuple(found)


def again(f: Function, d: Definition, args: tuple[Any, ...], outs: tuple[Any, ...]) -> Again | None:
    """What calls like this one do, which meant the instance `d`; None where each has to be looked at."""
    params = list(zip(d.params, args, strict=False))
    wanted = [o for o in d.outs if o.shape]
    if d.is_scalar or not d.params or not all(_as_it_is(p, x) for p, x in [*params, *zip(wanted, outs, strict=False)]):
        return None
    if any(n.op not in EXACT for g in f._told[d.key] for n in walk(g)):
        return None
    try:
        more = tuple(arrays.number(f.__name__, p, value(p.default, {})) for p in d.params[len(args) :])  # type: ignore[arg-type]
        made = None if outs else [(o.dtype, list(_axes(d, o))) for o in wanted]
    except Unknown:
        return None
    first = [k for k, (p, _) in enumerate(params) if p.shape]
    then = [k for k, (p, _) in enumerate(params) if not p.shape]
    results = range(len(args), len(args) + len(wanted))
    last = range(results.stop, results.stop + len(more) + 1)  # defaults and threads
    order = itemgetter(*first, *results, *then, *last)
    return Again(f._library._function(d), order, more, made, len(wanted) == len(d.outs) == 1, gatherer(d))


def _as_it_is(p: Param, x: Any) -> bool:
    """Does generated code take an argument as it is, and test it?"""
    if p.shape:
        return isinstance(x, np.ndarray) and p.dtype != "bool" and x.dtype == arrays.NUMPY[p.dtype]
    return p.kind == "scalar" and not isinstance(x, np.ndarray) and type(x) in NUMBERS[DTYPES[p.dtype].kind]


def _axes(d: Definition, o: Param) -> Iterator[tuple[int, int]]:
    """The axes of arguments that the shape of a result is made of."""
    names = [p.name for p in d.params]
    for e in o.shape:
        place = d.sizes.get(str(e.attr)) if e.op == "var" else None
        if place is None or place[0] != "arg" or o.dtype == "bool":  # which native code takes as bytes
            raise Unknown
        yield names.index(place[1]), place[2]


def gatherer(d: Definition) -> Callable[[Sequence[Any], Any], Any]:
    """From the arrays of an instance and what native code returned: the results of a call."""
    whole = [bool(o.shape) for o in d.outs]

    def gathered(outs: Sequence[Any], back: Any) -> Any:
        filled, numbers = iter(outs), iter(back if isinstance(back, tuple) else (back,))
        found = [next(filled if w else numbers) for w in whole]
        return None if not found else found[0] if len(found) == 1 else tuple(found)

    return gathered
