"""What a call must keep: the callee's `given`, and shapes that agree.

A condition on the elements of an array holds at a call if the caller knows it of every element of that array, or of the
arrays that its elements are copies from (vibee.prove.sources).
Every definition also tests on entry what its proofs rest on (facts.tested), so that an unproved call stays safe.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator

from vibee.tree.defs import Call, Definition, View
from vibee.tree.expr import Expr, const, free_vars, load, loads, rebuild, show, substitute, var, walk

from .facts import ZERO, Facts, compare, conjuncts, product, tested
from .overflow import Overflow
from .report import Obligation
from .sources import sources

Lookup = Callable[[str], Definition]
TESTED = "tested on entry"
LEFT = "not tested: no place depends on it"
BEFORE = "tested before the call"


def call_obligations(
    s: Call, d: Definition, lookup: Lookup, overflow: Overflow, shapes: dict[str, tuple[Expr, ...]]
) -> list[Obligation]:
    """One for each condition of the callee, and one for each array argument, of a call in `d`."""
    callee, facts = lookup(s.fn), overflow.facts
    table: dict[str, Expr] = dict(s.sizes)
    arrays: dict[str, View] = {}
    for a, p in [*zip(s.args, callee.params, strict=True), *zip(s.outs, callee.outs, strict=True)]:
        if isinstance(a, View):
            arrays[p.name] = a
        else:
            table[p.name] = a
    out = []
    for g in callee.given:
        for c in conjuncts(g):
            what = f"{show(c)} at the call of {callee.name}"
            instead = LEFT if tested(c, callee) is None else TESTED
            claims = _translated(c, d, lookup, table, arrays, facts)
            claims = claims and [(overflow.at(known, goal), known) for goal, known in claims]
            open_ = next(((goal, known) for goal, known in claims or [] if not known.prove(goal)), None)
            if open_ is not None:
                goal, known = open_
                out.append(Obligation("given", what, s.span, False, known.about(goal), goal, instead))
            else:
                why = "" if claims is not None else "it reads what nothing is known of here"
                out.append(Obligation("given", what, s.span, not why, instead=instead, why=why))
    for what, goals in agreement(s, callee, shapes):
        bad = next((g for g in goals if not facts.prove(g)), None)
        if bad is None:
            out.append(Obligation("shape", what, s.span))
        else:
            out.append(Obligation("shape", what, s.span, False, facts.about(bad), bad, BEFORE))
    for what, ways in apart(s, callee):
        out.append(Obligation("shape", what, s.span, any(map(facts.prove, ways)), instead=BEFORE))
    return out


def _translated(
    c: Expr, d: Definition, lookup: Lookup, table: dict[str, Expr], arrays: dict[str, View], facts: Facts
) -> list[tuple[Expr, Facts]] | None:
    """A condition in the caller's terms, with the facts to prove it from: one for each place that the elements come
    from.  None where it reads what is not known."""
    if any(n.op in ("reduce", "scan") for n in walk(c)):
        return None
    read = {str(ld.attr) for ld in loads(c)}
    if not read:
        return [(substitute(c, table), facts)]
    view = arrays.get(next(iter(read)))
    if len(read) > 1 or view is None or not _of_any_element(c, table):
        return None
    from_ = {view.array} if view.array in facts.fixed else sources(d, view.array, lookup)
    if from_ is None or not {a for a in from_ if isinstance(a, str)} <= set(facts.fixed):
        return None
    one, out = substitute(_element(c), table), []
    for a in sorted(from_, key=str):
        more = facts.copy()
        more.patterns = []
        if isinstance(a, str):
            about = [p for p in facts.promised if {str(x.attr) for x in loads(p)} == {a}]
            numbers = {*d.sizes, *(q.name for q in d.params)}  # x[k], with k given, is one element
            known = [_element(p) for p in about if _of_any_element(p, numbers)]
            goal = one
        else:  # what is known of the first elements there are says what a constant is compared with
            firsts = [load(b, (ZERO,) * len(facts.fixed[b]), "i64") for b in from_ if isinstance(b, str)]
            known = facts.instances(firsts)
            goal = _put(one, a)
        more.known = [*facts.known, *known]
        out.append((goal, more))
    return out


def _of_any_element(c: Expr, known: Container[str]) -> bool:
    """Does a condition speak of one element, at indices that are free, and not of the indices?"""
    places = {ld.args for ld in loads(c)}
    place = next(iter(places))
    free = all(a.op == "var" and str(a.attr) not in known for a in place)
    return free and len(places) == 1 and len(set(place)) == len(place) and not (
        free_vars(_element(c)) & {str(a.attr) for a in place})  # fmt: skip


def _element(e: Expr) -> Expr:
    """A condition on every element as one on any: reads become one unknown number."""
    if e.op in ("load", "load?"):
        return var("any element", e.dtype)
    return rebuild(e, _element)


def _put(e: Expr, value: int) -> Expr:
    """A condition on any element, for one that is a constant."""
    if e == var("any element", e.dtype):
        return const(value, e.dtype)
    return rebuild(e, lambda a: _put(a, value))


def agreement(s: Call, callee: Definition, shapes: dict[str, tuple[Expr, ...]]) -> Iterator[tuple[str, list[Expr]]]:
    """Of each array argument, what says that the callee sees as many elements as it has, in the shape that it asks
    for.  The front end has found them equal, as whole numbers without an end: it does not know what wraps around."""
    both = [*zip(s.args, callee.params, strict=True), *zip(s.outs, callee.outs, strict=True)]
    table = {**s.sizes, **{p.name: a for a, p in both if not isinstance(a, View)}}
    for v, p in both:
        if not isinstance(v, View):
            continue
        rest = shapes[v.array][len(v.lead) :]
        if v.part is not None:
            rest = (Expr("sub", (v.part[1], v.part[0]), None, "i64"), *rest[1:])
        seen = tuple(substitute(e, table) for e in p.shape)
        pairs = [(product(rest), product(seen)), *(zip(v.shape, seen, strict=False) if v.shape else ())]
        what = f"{p.name} of {callee.name} is {v.array} with the shape [{', '.join(map(show, seen))}]"
        yield what, [compare("eq", a, b) for a, b in pairs if a != b]


def apart(s: Call, callee: Definition) -> Iterator[tuple[str, list[Expr]]]:
    """Of two parts of one array, one of which the callee writes: ways in which they do not overlap.  Those of a
    model's memory plan, which no spec wrote, have proofs of their own (vibee.prove.plan)."""
    both = [*zip(s.args, callee.params, strict=True), *zip(s.outs, callee.outs, strict=True)]
    views = [(v, p) for v, p in both if isinstance(v, View) and v.span.line]
    for n, (v, p) in enumerate(views):
        for w, q in views[n + 1 :]:
            if v.array != w.array or p.kind == q.kind == "in":
                continue
            ways = [compare("ne", x, y) for x, y in zip(v.lead, w.lead, strict=False) if x != y]
            if v.part and w.part and len(v.lead) == len(w.lead):
                ways += [compare("le", v.part[1], w.part[0]), compare("le", w.part[1], v.part[0])]
            yield f"{p.name} and {q.name} of {callee.name} do not overlap in {v.array}", ways
