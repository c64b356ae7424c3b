"""Checks that the expressions of a formula are typed as the contract of the trees says."""

from vibee.tree.expr import bound_vars
from vibee.tree.types import DTYPES, is_float

COMPARE = ("lt", "le", "gt", "ge", "eq", "ne")
SAME = ("add", "sub", "mul", "div", "floordiv", "mod", "min", "max", "bitand", "bitor", "xor")


def verify(f):
    """Raises AssertionError for an expression whose types do not fit; names must be bound once."""
    arrays = {p.name: p for p in [*f.params, *f.outs, *f.temps]}
    assert len(arrays) == len(f.params) + len(f.outs) + len(f.temps), "two arrays of one name"
    scalars = {p.name for p in f.params if p.kind in ("scalar", "size")} | set(f.sizes)
    binders = set()
    variables = {v for q in f.equations for v in q.vars}
    made = {p.name for p in f.params}

    def go(e, names):
        for a in e.args if e.op != "reduce" else ():
            go(a, names)
        kinds = [a.dtype for a in e.args]
        assert e.dtype in DTYPES, e
        if e.op in SAME:
            assert kinds == [e.dtype] * 2, e
            assert e.op != "div" or is_float(e.dtype), e
        elif e.op in COMPARE:
            assert kinds[0] == kinds[1] and e.dtype == "bool", e
        elif e.op in ("and", "or", "not"):
            assert set(kinds) == {"bool"} == {e.dtype}, e
        elif e.op == "where":
            assert kinds == ["bool", e.dtype, e.dtype], e
        elif e.op in ("neg", "abs", "sqrt", "floor", "rint", "scan"):
            assert kinds[0] == e.dtype, e
        elif e.op == "load":
            assert e.attr in made, (e, "read before it is made")
            p = arrays[e.attr]
            assert p.dtype == e.dtype and len(p.shape) == len(kinds) and set(kinds) <= {"i64"}, e
        elif e.op == "var":
            assert e.attr in names or e.attr in scalars, e
        elif e.op == "cast":
            assert e.attr == e.dtype, e
        elif e.op == "reduce":
            inner = set(names)
            for v, lo, hi in zip(bound_vars(e), e.args[1::2], e.args[2::2], strict=True):
                assert v not in binders and v not in inner and v not in arrays and v not in variables, v
                binders.add(v)
                go(lo, inner)
                go(hi, inner)
                inner.add(v)
            go(e.args[0], inner)
            if e.attr[0].startswith("arg"):
                assert e.dtype == "i64"
            else:
                assert e.args[0].dtype == e.dtype, e
        else:
            assert e.op in ("const", "call"), e

    for q in f.equations:
        names = set(q.vars)
        assert len(names) == len(q.vars) == len(q.dims), q
        assert not names & set(arrays), q
        go(q.rhs, names)
        for i in (*q.idx, *q.dims):
            go(i, names)
            assert i.dtype == "i64", i
        assert q.rhs.dtype == arrays[q.lhs].dtype, (q, arrays[q.lhs].dtype)
        made.add(q.lhs)
    assert {p.name for p in f.outs} <= made
