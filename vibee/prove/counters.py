"""How far scalars come that are set to constants and changed by constants only.

        |counter| <= where it begins + the sum over its steps of (length * turns of the loops around)

Where sizes tell the turns, that is a bound like any other, tested on entry.  Where they do not, as of a `while`, a
counter comes as far as the machine takes it: FAR is two weeks of steps of a nanosecond.  Then every step has to be
made: a compiler that adds them up is there at once (Procedure.stepped).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from vibee.tree.defs import Assign, Call, Decl, For, If, Procedure, Store, While, statements
from vibee.tree.expr import Expr, var
from vibee.tree.poly import mul
from vibee.tree.types import is_int

from .facts import changed, norm
from .magnitude import Side, one, total

STRIDE = 1024  # with steps of this length,
BEGIN = 2**60  # from here at most,
FAR = 2**61  # this far is a way of 2**50 steps

Turns = Callable[[For], Side]  # how often a loop runs at most


def counters(p: Procedure) -> dict[str, int]:
    """Their names, and how far from 0 they begin."""
    begin: dict[str, int] = {}
    other = {q.name for q in p.params} | {f"{q.name}[]" for q in p.params}  # begin with any number
    for s in statements(p.body):
        for name, value in _assigned(s):
            if value is not None and not _step(name, value):
                start = _start(value)
                other |= {name} if start is None else set()
                begin[name] = max(begin.get(name, 0), start or 0)
            begin.setdefault(name, 0)
        if isinstance(s, (For, Call)):
            other |= changed([s] if isinstance(s, Call) else [replace(s, body=[])])
    return {name: start for name, start in begin.items() if name not in other}


def _assigned(s: object) -> Iterator[tuple[str, Expr | None]]:
    """Scalars that a statement gives values to; an output without axes is `name[]`."""
    if isinstance(s, Decl):
        yield s.name, s.init
    elif isinstance(s, Assign):
        yield s.name, s.value
    elif isinstance(s, Store) and not s.idx:
        yield f"{s.array}[]", s.value


def _start(value: Expr) -> int | None:
    """How far a constant is from 0, if not too far."""
    if value.op != "const":
        return None
    far = abs(int(value.attr)) if is_int(value.dtype) else 0  # type: ignore[call-overload]
    return far if far <= BEGIN else None


def _step(name: str, value: Expr) -> int:
    """The length of the step that is added to a counter or taken from it; 0 where it is something else."""
    if value.op not in ("add", "sub") or value.dtype != "i64":
        return 0
    rest = [a for a in value.args if norm(a) != var(name)]
    if len(rest) != 1 or rest[0].op != "const":
        return 0
    length = abs(int(rest[0].attr))  # type: ignore[call-overload]
    return max(1, length) if length <= STRIDE else 0


def ways(body: list, names: dict[str, int], turns: Side, of: Turns) -> dict[str, Side]:
    """The sum of all steps of each counter; None where sizes do not tell how many there are."""
    out: dict[str, Side] = {}
    for s in body:
        inner: list[dict[str, Side]] = []
        if isinstance(s, For):
            length = of(s)
            inner = [ways(s.body, names, None if turns is None or length is None else mul(turns, length), of)]
        elif isinstance(s, While):
            inner = [ways(s.body, names, None, of)]
        elif isinstance(s, If):
            inner = [ways(s.then, names, turns, of), ways(s.orelse, names, turns, of)]
        for name, value in _assigned(s):
            step = _step(name, value) if name in names and value is not None else 0
            inner += [{name: None if turns is None else mul(turns, one(step))}] if step else []
        for part in inner:
            for name, way in part.items():
                out[name] = total(out.get(name, {}), way)
    return out
