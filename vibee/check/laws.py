"""`then`, `law`, `example`, `raises`, `derivative`, `gradient`, `implements`: checked, and kept for the tests."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

from vibee.tree.defs import Definition, Formula, Law, Param
from vibee.tree.expr import Expr, const, names_in, rebuild, show, substitute
from vibee.tree.types import DTYPES, is_float

from .arrays import ArrayTyper
from .binders import free_names
from .body import tolerated
from .errors import Known, SpecError, count, listed, suggest
from .expr import LITERALS
from .fold import computed
from .matching import head
from .sizes import Facts
from .surface import RawDef

if TYPE_CHECKING:
    from .body import BodyChecker

Head = tuple[Definition, RawDef, dict[str, str]]  # one version of a definition, and its `real`
Form = tuple[int, tuple[str, ...]]  # the rank of a parameter, and the types that it may have
PROPERTIES = ("then", "law", "example", "raises", "derivative", "gradient", "implements")


def once(said: object, e: Expr, what: str) -> None:
    """A statement of which a definition has one: `said` is what an earlier one said."""
    if said is not None:
        raise SpecError(e.span, f"{what} stands twice; leave one")


def law(checker: BodyChecker, e: Expr) -> Law | None:
    """One property statement; None for an example of another version of a procedure over models."""
    word = str(e.attr[0])  # type: ignore[index]
    return {"then": _then, "law": _law, "example": _example, "raises": _raises}[word](checker, e)


def _then(checker: BodyChecker, e: Expr) -> Law:
    """`then(condition, close(a, b, ulp=8))`: holds for all values of its new index names."""
    if len(e.attr) > 1 or not e.args:
        raise SpecError(e.span, "then takes conditions on the outputs, as in then(y[n] >= 0)")
    checker.closing = True
    try:
        return Law("then", "", tuple(checker.elementwise(c) for c in e.args), e.span)
    finally:
        checker.closing = False


def _law(checker: BodyChecker, e: Expr) -> Law:
    """`law("name", left, right)`: two whole-array expressions that are equal; new names are any numbers."""
    plain = e.args[: len(e.args) - (len(e.attr) - 1)]
    keys = [str(k) for k in e.attr[1:]]
    if len(plain) != 3 or plain[0].op != "str" or len(keys) > 1 or not set(keys) <= {"ulp", "rel"}:
        raise SpecError(e.span, 'write law("name", left, right), as in law("shift", f(x + c), f(x))')
    typer = ArrayTyper(checker)
    left, right = (typer.rank(a) for a in plain[1:])
    if left is not None and right is not None and left != right and 0 not in (left, right):
        raise SpecError(
            plain[2].span,
            f"the left side has {count(left, 'axis')} and the right side {right}; both must have the same shape",
        )
    settings = [(k, tolerated(checker, k, a)) for k, a in zip(keys, e.args[3:], strict=True)]
    sides = (_numbers(checker, a) for a in plain[1:])
    return Law("law", str(plain[0].attr), (*sides, *settings), e.span)


def _numbers(checker: BodyChecker, e: Expr) -> Expr:
    """A side of a law with the module's constants as numbers, so that they are none of its new names."""
    sym = checker.scope.get(str(e.attr)) if e.op == "var" else None
    if sym is None or sym.value is None:
        return rebuild(e, lambda a: _numbers(checker, a))
    if sym.broken:
        raise Known()
    value = const(sym.value.attr, "", e.span)
    return value if sym.dtype in (*LITERALS, "bool") else Expr("cast", (value,), sym.dtype, "", e.span)


def number(checker: BodyChecker, e: Expr, dtype: str) -> object:
    """A number or arithmetic of numbers and constants, or nested lists of them: all such as a `dtype` holds."""
    if e.op == "list":
        return [number(checker, a, dtype) for a in e.args]
    if e.op not in ("call", "str") and not any(checker.scope.local(str(n.attr)) for n in free_names(e)):
        found = computed(checker.check(e))
        if found.op == "const":
            if dtype:  # an output without one has a mistake
                checker.convert(found, dtype)
            return found.attr
    raise SpecError(e.span, f"{show(e)} is not a number or a list of numbers")


def lengths(e: Expr) -> tuple[int, ...]:
    """The shape of nested lists; all parts must have the same."""
    if e.op != "list":
        return ()
    parts = set(map(lengths, e.args))
    if len(parts) > 1:
        raise SpecError(e.span, "the rows of this list differ in length; give a full array")
    return (len(e.args), *(parts.pop() if parts else ()))


def _agree(checker: BodyChecker, passed: dict[str, Expr], results: dict[str, Expr]) -> None:
    """The lists of an example are as long as what is passed tells, and results that alone have a size."""
    of = {p.name: p for p in [*checker.params, *checker.outs]}
    lists = [(of[n], e) for n, e in (*passed.items(), *results.items()) if n in of and e.op == "list"]
    told = {p.name: lengths(e) for p, e in reversed(lists)}
    sizes: dict[str, Expr] = {}
    for size, (_, name, *axis) in checker.sizes.items():
        default = of[name].default
        if name in told:
            sizes[size] = const(told[name][axis[0]], "i64")
        elif name in passed and not axis:
            sizes[size] = computed(checker.index(passed[name]))
        elif default is not None:
            sizes[size] = default
    for p, e in lists:
        for k, (s, n) in enumerate(zip(p.shape, lengths(e), strict=True)):
            need = Facts().number(substitute(s, sizes))
            if need not in (None, n):
                what = show(s) if s.op == "const" else f"{show(s)} = {need}"
                raise SpecError(e.span, f"axis {k} of '{p.name}' must be {what}, but here it is {n}")


def _raises(checker: BodyChecker, e: Expr) -> Law:
    """`raises("text", x=...)`: a call that is refused; a size that only an output has may be named too."""
    plain, named = _arguments(e)
    if len(plain) != 1 or plain[0].op != "str":
        raise SpecError(e.span, 'write raises("a part of the message", x=...)')
    known = [p.name for p in checker.params] + [n for n, w in checker.sizes.items() if w[0] == "out"]
    for key, value in named.items():
        if key not in known:
            raise SpecError(value.span, f"{checker.scope.raw.name} has no '{key}'{suggest(key, known)}")
    _all_passed(checker, e, named)
    types = {p.name: p.dtype for p in checker.params}  # a single number of another type is refused by the call itself
    args = tuple((k, number(checker, v, types.get(k, "") if v.op == "list" else "")) for k, v in named.items())
    return Law("raises", str(plain[0].attr), args, e.span)


def _example(checker: BodyChecker, e: Expr) -> Law | None:
    """`example(x=..., y=...)`, or `example(f(x=...), x=...)` where an array is one thing before and another after.

    `rel=` or `ulp=` may follow.  In a procedure over models the call names the version that is meant; for another one
    this gives None."""
    plain, named = _arguments(e)
    f, inputs = checker.scope.raw.name, {p.name: p for p in checker.params}
    outputs = {p.name: p for p in [*checker.outs, *(p for p in checker.params if p.kind == "mut")]}
    if plain:
        if len(plain) > 1 or plain[0].op != "call":
            raise SpecError(plain[0].span, "example names its values, as in example(x=[1, 2], y=[2, 4])")
        called = str(plain[0].attr[0])  # type: ignore[index]
        if called != f:
            if called in _made_beside(checker):
                return None
            raise SpecError(plain[0].span, f"this is an example of {f}; write example({f}(...), ...)")
        passed, results = _arguments(plain[0])[1], named
        first = [p for p in checker.params if p.name not in passed]
        if len(_arguments(plain[0])[0]) > len(first):
            raise SpecError(plain[0].span, f"{f} takes {count(len(inputs), 'argument')}; more are given")
        passed = dict(zip((p.name for p in first), _arguments(plain[0])[0], strict=False)) | passed
    else:
        passed = {k: v for k, v in named.items() if k in inputs or k == "weights"}
        results = {k: v for k, v in named.items() if k not in passed}
    taken = {**inputs, **outputs}
    settings = {k: results.pop(k) for k in ("ulp", "rel") if k in results and k not in taken}
    whole = checker.scope.raw.kind == "model"
    args = [(k, _value(checker, v, inputs.get(k), f, whole and k == "weights")) for k, v in passed.items()]
    for key, value in results.items():
        if key not in outputs:
            raise SpecError(value.span, f"{f} has no '{key}'{suggest(key, outputs)}" if key not in inputs else
                            f"'{key}' stays as it is in {f}; what comes of it is {listed(outputs)}")  # fmt: skip
    after = [(k, _value(checker, v, outputs[k], f)) for k, v in results.items()]
    after += [(k, tolerated(checker, k, v)) for k, v in settings.items()]
    _all_passed(checker, e, passed)
    if whole and "weights" not in passed:
        raise SpecError(e.span, f"example needs the weights: add weights={f}.init(7)")
    if not results:
        names = listed(outputs) if outputs else "an output"
        how = f"add {checker.outs[0].name}=..." if checker.outs else f"write example({f}(...), {names}=...)"
        raise SpecError(e.span, f"example needs the result: {how}")
    _agree(checker, passed, results)
    return Law("example", "", tuple(args), e.span, tuple(after))


def _arguments(e: Expr) -> tuple[list[Expr], dict[str, Expr]]:
    """The arguments of a call by position and by name."""
    _, *keys = e.attr  # type: ignore[misc]
    n = len(e.args) - len(keys)
    return list(e.args[:n]), dict(zip(map(str, keys), e.args[n:], strict=True))


def _all_passed(checker: BodyChecker, e: Expr, passed: Container[str]) -> None:
    missing = [p.name for p in checker.params if p.default is None and p.name not in passed]
    if missing:
        raise SpecError(e.span, f"{e.attr[0]} needs a value for '{missing[0]}'")  # type: ignore[index]


def _key(e: Expr, args: tuple[Expr, ...]) -> int:
    """The key in `init(7)`."""
    if len(args) == 1 and args[0].op == "const" and type(args[0].attr) is int:
        return args[0].attr
    raise SpecError(e.span, "init takes a whole number in an example, as in init(7)")


def _made_beside(checker: BodyChecker) -> set[str]:
    """The names of what is made from the same procedure over models: `a = train(gpt2)`, `b = train(llama)`."""
    raw = checker.scope.raw
    home = checker.scope.program.modules.home(raw)
    return {
        c.name for c in home.consts.values() if c.value.op == "call"
        and any(r.span == raw.span for r in home.own.get(str(c.value.attr[0]), []))  # type: ignore[index]
    }  # fmt: skip


def _value(checker: BodyChecker, e: Expr, p: Param | None, f: str, weights: bool = False) -> object:
    """What an example says of a parameter or output: numbers; one number for a whole array whose size others tell;
    drawn weights."""
    if e.op == "call" and str(e.attr[0]).endswith(".init"):  # type: ignore[index]
        _key(e, e.args[:1])
        return e  # m.init(7) of a procedure over models, written out
    if weights:
        if e.op != "mcall" or e.args[0].attr != f or e.attr != ("init",):
            raise SpecError(e.span, f"the weights of an example are drawn: write weights={f}.init(7)")
        return _key(e, e.args[1:])
    if p is None:
        raise SpecError(e.span, f"{f} has no 'weights'; only an example of a model takes them")
    found, rank = number(checker, e, p.dtype), len(lengths(e))
    if p.kind == "size" and found < 0:  # type: ignore[operator]
        raise SpecError(e.span, f"a size is at least 0, but this is {found}")
    if rank == len(p.shape):
        return found
    if rank == 0 and not any(w[1] == p.name for w in checker.sizes.values()):
        return found  # of all elements; others tell how many
    raise SpecError(e.span, f"'{p.name}' has {count(len(p.shape), 'axis')}, but this has {rank}")


def derivative(checker: BodyChecker, e: Expr, out: Formula) -> None:
    """`derivative(x=expr)` of a scalar formula."""
    _, *keys = e.attr
    if not out.is_scalar:
        raise SpecError(
            e.span,
            "derivative is for formulas from numbers to one number; for arrays name a definition: gradient(name)",
        )
    if len(keys) != len(e.args) or not keys:
        raise SpecError(e.span, "write derivative(x=...), by parameter")
    for key, value in zip(keys, e.args, strict=True):
        p = next((p for p in out.params if p.name == key), None)
        if p is None:
            raise SpecError(
                value.span, f"{out.name} has no parameter '{key}'{suggest(str(key), [p.name for p in out.params])}"
            )
        if not is_float(p.dtype) or not is_float(out.outs[0].dtype or "f64"):
            raise SpecError(value.span, f"'{key}' is {p.dtype}; only floats have derivatives")
        once(out.derivative.get(p.name), value, f"the derivative by {key}")
        slope = checker.value(value, p.dtype)
        usable = [q.name for q in [*out.params, *out.outs]]
        for name in sorted(names_in(slope) - set(usable)):
            raise SpecError(
                value.span, f"'{name}' is a temporary; write the derivative in terms of {listed(usable)} alone"
            )
        out.derivative[str(key)] = slope


def named(checker: BodyChecker, e: Expr) -> tuple[str, Expr]:
    """The one name in `gradient(name)` or `implements(name)`."""
    word = str(e.attr[0])
    if len(e.args) != 1 or len(e.attr) > 1 or e.args[0].op != "var":
        raise SpecError(e.span, f"{word} takes the name of a definition, as in {word}(f)")
    return str(e.args[0].attr), e.args[0]


def heads(checker: BodyChecker, name: str, at: Expr, raws: list[RawDef]) -> list[Head]:
    """The heads of all versions of a definition, those for the same `real` first."""
    program, mine = checker.scope.program, checker.scope.types
    chosen = [(raw, types) for raw in raws for types in program.type_choices(raw)]
    found = [(sig, raw, types) for raw, types in chosen if (sig := program.signature(raw, types)) is not None]
    if len(found) < len(chosen):
        raise Known()
    return sorted(found, key=lambda h: h[2] != mine)


def alike(ps: list[Param], known: Mapping[str, Form], types: bool = False) -> bool:
    """Has each of `ps` the name and rank of one that is known; if `types`, its type too where both have one yet?"""
    for p in ps:
        rank, dtypes = known.get(p.name, (None, ()))
        if rank != len(p.shape) or (types and p.dtype and dtypes[0] and p.dtype not in dtypes):
            return False
    return True


def adjoint(p: Param) -> tuple[str, Form]:
    """`d_` of a parameter or output: of its type, or of that of its arithmetic."""
    return f"d_{p.name}", (len(p.shape), (p.dtype, DTYPES[p.dtype].arith) if p.dtype else ("",))


def gradient_of(checker: BodyChecker, e: Expr) -> str:
    """The instance name of the definition in `gradient(name)`, whose head must be that of a gradient."""
    name, at = named(checker, e)
    f = checker.scope.raw.name
    known: dict[str, Form] = {p.name: (len(p.shape), (p.dtype,)) for p in [*checker.params, *checker.outs]}
    known |= map(adjoint, checker.outs)
    real = dict(adjoint(p) for p in checker.params if is_float(p.dtype) and p.kind in ("in", "scalar"))
    found = heads(checker, name, at, checker.versions(name, at.span))
    named_so = [h for h in found if alike(h[0].params, known) and h[0].outs and alike(h[0].outs, real)]
    if not named_so:
        raise SpecError(
            at.span,
            f"{name} is no gradient of {f}: by their names it must take some of "
            f"({', '.join(known)}) and give some of ({', '.join(real)})",
        )
    typed = [h for h in named_so if alike(h[0].params, known, True) and alike(h[0].outs, real, True)]
    if not typed:
        takes, gives = (
            ", ".join(f"{n}: {' or '.join(dict.fromkeys(t))}" for n, (_, t) in ps.items() if t[0])
            for ps in (known, real)
        )
        raise SpecError(
            at.span, f"{name} has other types than a gradient of {f}, which takes some of ({takes}) and gives some of "
                f"({gives}); there is {', '.join(head(h[0]) for h in named_so)}"
        )  # fmt: skip
    sig, raw, types = typed[0]
    checker.scope.program.later(raw, types)
    return sig.key


def implements_of(checker: BodyChecker, e: Expr) -> str:
    """The instance name of the formula in `implements(name)`, which must have the same head."""
    name, at = named(checker, e)
    raws = checker.versions(name, at.span)
    formulas = [raw for raw in raws if raw.kind == "formula"]
    if not formulas:
        raise SpecError(at.span, f"{name} is a {raws[0].kind}; a procedure implements a formula")
    params, outs = [(p.dtype, len(p.shape)) for p in checker.params], [len(o.shape) for o in checker.outs]
    for sig, raw, types in heads(checker, name, at, formulas):
        theirs = [(p.dtype, len(p.shape)) for p in sig.params], [len(o.shape) for o in sig.outs]
        if params[: len(theirs[0])] == theirs[0] and outs[: len(theirs[1])] == theirs[1]:
            checker.scope.program.later(raw, types)
            return sig.key
    f = checker.scope.raw.name
    raise SpecError(at.span, f"{f} has another head than {name}; give it the same parameters and outputs")
