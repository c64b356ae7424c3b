"""The small whole-array definitions that derived code needs: copies, sums, fills.

They are ordinary definitions, lowered and emitted like any other; one instance per dtype.
"""

from __future__ import annotations

from ..tree.defs import Equation, For, Formula, Param, Procedure, Store
from ..tree.expr import Expr, const, load, var
from .model_steps import Do, Ref, Registry, Work

N = var("N")
I = var("i")  # noqa: E741
SIZES = {"N": ("arg", "y", 0)}


def _array(name: str, kind: str, dtype: str) -> Param:
    return Param(name, kind, dtype, (N,))


def sum_of(program: Registry, terms: int, dtype: str) -> str:
    """Key of `y = x0 + x1 + ...` for one-axis arrays; one term makes it a copy."""
    names = [f"x{k}" for k in range(terms)]
    total = load(names[0], (I,), dtype)
    for x in names[1:]:
        total = Expr("add", (total, load(x, (I,), dtype)), None, dtype)
    name = "vb_copy" if terms == 1 else f"vb_add{terms}"
    key = program.derived_key(f"{name}_{dtype}")
    f = Formula(name, key, [_array(x, "in", dtype) for x in names], [_array("y", "out", dtype)],
                {"N": ("arg", "x0", 0)}, doc="Derived from a model.",
                equations=[Equation("y", ("i",), (N,), (I,), total)],
                schedule={"parallel": ("i",), "simd": ("i",)})  # fmt: skip
    return program.add(f).key


def narrowed(program: Registry, dtype: str) -> str:
    """Key of `y = x rounded to bf16` for one-axis arrays."""
    value = Expr("cast", (load("x", (I,), dtype),), "bf16", "bf16")
    key = program.derived_key(f"vb_narrow_{dtype}")
    f = Formula("vb_narrow", key, [_array("x", "in", dtype)], [_array("y", "out", "bf16")],
                {"N": ("arg", "x", 0)}, doc="Derived from a model.",
                equations=[Equation("y", ("i",), (N,), (I,), value)],
                schedule={"parallel": ("i",), "simd": ("i",)})  # fmt: skip
    return program.add(f).key


def fill(program: Registry, dtype: str) -> str:
    """Key of a procedure that writes one number everywhere."""
    store = Store("y", (I,), var("value", dtype))
    key = program.derived_key(f"vb_fill_{dtype}")
    p = Procedure("vb_fill", key, [Param("value", "scalar", dtype)], [_array("y", "out", dtype)],
                  {"N": ("arg", "y", 0)}, doc="Derived from a model.",
                  body=[For("i", const(0, "i64"), N, [store], parallel=True)])  # fmt: skip
    return program.add(p).key


def accumulate(program: Registry, dtype: str) -> str:
    """Key of the procedure `y += x`."""
    total = Expr("add", (load("y", (I,), dtype), load("x", (I,), dtype)), None, dtype)
    key = program.derived_key(f"vb_accumulate_{dtype}")
    p = Procedure("vb_accumulate", key,
                  [_array("y", "mut", dtype), _array("x", "in", dtype)], [], {"N": ("arg", "y", 0)},
                  doc="Derived from a model.",
                  body=[For("i", const(0, "i64"), N, [Store("y", (I,), total)], parallel=True)])  # fmt: skip
    return program.add(p).key


def _flat(w: Work, r: Ref) -> tuple[Ref, Expr]:
    n = w.sizes.expr(w.sizes.numel(r.shape))
    return Ref(r.value, (n,), r.index, r.lead, r.part), n


def add_step(w: Work, terms: list[Ref], out: Ref, dtype: str) -> Do:
    """out = the sum of the terms (a copy of the only one)."""
    target, n = _flat(w, out)
    return Do(sum_of(w.program, len(terms), dtype), [_flat(w, t)[0] for t in terms], [target], {"N": n})


def fill_step(w: Work, out: Ref, value: float, dtype: str) -> Do:
    """out = value everywhere."""
    target, n = _flat(w, out)
    return Do(fill(w.program, dtype), [const(value, dtype)], [target], {"N": n})


def accumulate_step(w: Work, target: Ref, term: Ref, dtype: str) -> Do:
    """target += term."""
    y, n = _flat(w, target)
    return Do(accumulate(w.program, dtype), [y, _flat(w, term)[0]], [], {"N": n})
