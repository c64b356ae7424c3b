"""A loaded spec: its modules, and the checked instances of their definitions.

    program = check.load("my.vibee")
    program.errors                          -> [SpecError]; a program with errors must not be compiled
    program.own_names                       -> names written in the loaded file itself
    program.defs["softmax"]                 -> its versions written in that file, every dtype instance
    program.instance("softmax", {"real": "f32"}), program.by_key("softmax_f32")

How the checkers are put together (and how a checker of another kind of definition uses them):

`scope.Scope(program, module, raw, types)`   names of one definition: declare(Symbol), need, push, pop, fresh, facts
`calls.CallChecker(scope)`                   ExprChecker -> PowerChecker -> BinderChecker -> CallChecker
    .value(e, want)   a surface expression (parse.py's, dtype '') to a typed one; .condition(e); .index(e) for sizes
    .array(e)         a surface expression to an ArrayArg (View, dtype, shape), None if it is a number
    .bind(e)          a surface call to a Bound: callee (checked Definition), args per parameter, sizes, out_shapes;
                      give `args=[ArrayArg | typed Expr, ...]` to bind values that are already known
    .obligations(b)   the callee's `given` in the caller's terms
    .convert(e, dtype)
`scope.facts`     `.learn(condition)`, `.equal(size, size)`, `.number(size)`: equality of sizes modulo `given`
`signature.build(scope, raw)`                a Definition's params, outs, sizes, given; declares them in the scope
`program.find(module, name)`                 the RawDefs that a name means in a module (own, imported, everywhere)
`program.signature(raw, types)`              head only, None if it has mistakes; `.instantiate(raw, types)` the whole
`program.type_choices(raw)`                  [{}] or [{"real": "f32"}, {"real": "f64"}]
Mistakes: raise SpecError(span, "what is wrong; what would be right"); catch it at a statement and go on with
`program.log.add(error)`; raise Known() where the cause is reported already.

Hooks: a definition with @model is checked by `model.ModelChecker`; a procedure with a parameter `m: model` is a
template, and `name = template(model)` makes `model.instantiate(program, module, const)`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from vibee.tree.defs import Definition
from vibee.tree.expr import NOWHERE, Expr, Span
from vibee.tree.types import REAL, REAL_INSTANCES

from .errors import Errors, Known, SpecError, SpecFailure, listed, suggest
from .fold import BROKEN, computed
from .modules import Module, Modules
from .surface import RawConst, RawDef

DERIVED = (0, "derived")  # in place of the definition and its types, for keys of what no spec holds


class Program:
    """The loaded file, what it imports, and everything checked so far."""

    def __init__(self, path: str, text: str | None = None) -> None:
        self.path = path
        self.log = Errors()
        self.modules = Modules(self.log)
        self.keys: dict[str, Definition] = {}
        self._names: dict[tuple[int, str], str] = {}  # (raw, types) -> key
        self._taken: dict[str, tuple[int, str]] = {}
        self._heads: dict[tuple[int, str], Definition | None] = {}
        self._whole: dict[tuple[int, str], Definition | None] = {}
        self._stack: list[tuple[int, str]] = []
        self._partial: dict[tuple[int, str], Definition] = {}
        self._consts: dict[tuple[str, str], Expr | None] = {}
        self._evaluated: dict[tuple[str, str], str] = {}  # constants that are being evaluated, and their names
        self._waiting: list[tuple[RawDef, dict[str, str]]] = []
        self._made: dict[str, RawDef] = {}
        self.module = self.modules.root(path, text)
        self._guard(Span(path, 1, 1), self._check_all)

    # ------------------------------------------------------------ results

    @property
    def errors(self) -> list[SpecError]:
        """All mistakes, in the order of the text."""
        return self.log.sorted()

    @property
    def own_names(self) -> list[str]:
        """Names of the definitions written in the loaded file, in order."""
        return list(dict.fromkeys([d.name for d in self.module.raw.defs] + list(self._made)))

    @property
    def defs(self) -> dict[str, list[Definition]]:
        """The checked instances of the loaded file's definitions by their written names."""
        out: dict[str, list[Definition]] = {}
        for raw in [*self.module.raw.defs, *self._made.values()]:
            for types in self.type_choices(raw):
                d = self._whole.get(self._id(raw, types))
                if d is not None:
                    out.setdefault(raw.name, []).append(d)
        return out

    def instance(self, name: str, types: dict[str, str] | None = None) -> Definition:
        """The checked definition `name` for the given types; raises SpecFailure if it has mistakes."""
        found = self.find(self.module, name)
        if not found:
            hint = suggest(name, self.callable_names(self.module))
            raise SpecFailure([SpecError(Span(self.path), f"there is no definition '{name}'{hint}")])
        try:
            return self.instantiate(found[0], types or {})
        except SpecError as e:
            raise SpecFailure(self.errors or [e]) from None

    def by_key(self, key: str) -> Definition:
        """The checked definition with the instance name `key`."""
        if key in self.keys:
            return self.keys[key]
        for raw in [*self.module.raw.defs, *(d for m in self.modules.all() for d in m.raw.defs)]:
            for types in self.type_choices(raw):
                if self.key(raw, types) == key:
                    try:
                        return self.instantiate(raw, types)
                    except SpecError as e:
                        raise SpecFailure(self.errors or [e]) from None
        raise KeyError(key)

    def add(self, definition: Definition) -> Definition:
        """Register a derived definition, or give the one that has its key already, which is the same."""
        known = self.keys.setdefault(definition.key, definition)
        assert known == definition, f"two definitions are called {definition.key}"
        return known

    def derived_key(self, key: str) -> str:
        """The key of something derived: `key`, with `_` after it where a definition of the spec has that."""
        for raw in [*self._made.values(), *(d for m in self.modules.all() for d in m.raw.defs)]:
            for types in self.type_choices(raw):
                self.key(raw, types)
        while self._taken.setdefault(key, DERIVED) != DERIVED:
            key += "_"
        return key

    def raise_errors(self) -> None:
        """Raise SpecFailure if there are mistakes."""
        if self.log.items:
            raise SpecFailure(self.errors)

    # ------------------------------------------------------------ names

    def find(self, module: Module, name: str) -> list[RawDef]:
        """The definitions that `name` means in `module`."""
        return self.modules.find(module, name)

    def callable_names(self, module: Module) -> list[str]:
        """Names of all definitions in scope in `module`."""
        return self.modules.callable_names(module)

    def constant_names(self, module: Module) -> list[str]:
        """Names of the module constants in scope."""
        return self.modules.constant_names(module)

    def constant(self, module: Module, name: str) -> Expr | None:
        """The value of the module constant `name`, a const node; None if there is none, BROKEN after a mistake."""
        found = self.modules.constant(module, name)
        if found is None:
            return None
        home, raw = found
        place = (home.path, raw.name)  # `name` may be an alias
        if place in self._evaluated:
            circle = [*self._evaluated.values()][[*self._evaluated].index(place) + 1 :]
            how = f", by way of {listed(circle)}" if circle else ""
            raise SpecError(raw.span, f"'{raw.name}' is made of itself{how}; write a number for one of them")
        if place not in self._consts:
            self._evaluated[place] = raw.name
            try:
                self._consts[place] = self._evaluate(home, raw)
            finally:
                del self._evaluated[place]
        return self._consts[place]

    def _evaluate(self, module: Module, raw: RawConst) -> Expr | None:
        from .calls import CallChecker
        from .scope import Scope

        try:
            if raw.value.op in ("call", "mcall"):
                return None
            scope = Scope(self, module, RawDef("formula", raw.name, [], [], []), {})
            value = computed(CallChecker(scope).check(raw.value))
            if value.op != "const":
                raise SpecError(raw.span, f"'{raw.name}' is not a constant; write a number or arithmetic of numbers")
            return value
        except SpecError as e:
            self.log.add(e)
            return BROKEN

    # ------------------------------------------------------------ instances

    def type_choices(self, raw: RawDef) -> list[dict[str, str]]:
        """The values of `real` for which `raw` exists."""
        return [{REAL: t} for t in REAL_INSTANCES] if raw.uses_real else [{}]

    def is_scalar(self, raw: RawDef) -> bool:
        """True for a definition from numbers to one number."""
        numbers = all(p.type.shape is None and p.type.base not in ("size", "model") for p in raw.params)
        return raw.kind != "model" and numbers and len(raw.outs) == 1 and not raw.outs[0].shape

    def _id(self, raw: RawDef, types: dict[str, str]) -> tuple[int, str]:
        return (id(raw), types.get(REAL, "") if raw.uses_real else "")

    def key(self, raw: RawDef, types: dict[str, str]) -> str:
        """The instance name: unique in the program."""
        place = self._id(raw, types)
        if place not in self._names:
            suffix = "_" + types.get(REAL, "f64") if raw.uses_real else self._overload(raw)
            base = raw.name + suffix
            k = 0
            while self._taken.get(base, place) != place:
                base = f"{raw.module}_{raw.name}{suffix}" + (f"_{k}" if k else "")
                k += 1
            self._taken[base] = place
            self._names[place] = base
        return self._names[place]

    def _overload(self, raw: RawDef) -> str:
        others = [d for d in self.modules.home(raw).raw.defs if d.name == raw.name and d is not raw]
        if not others:
            return ""
        mine = [p.type.base for p in raw.params]
        differs = [
            t for k, t in enumerate(mine) if any(k >= len(o.params) or o.params[k].type.base != t for o in others)
        ]
        return "_" + "_".join(dict.fromkeys(differs or [str(len(mine))]))

    def signature(self, raw: RawDef, types: dict[str, str]) -> Definition | None:
        """The head of an instance; None if it has mistakes (which are reported)."""
        from .definition import check_head

        place = self._id(raw, types)
        if place not in self._heads:
            self._heads[place] = None
            self._heads[place] = check_head(self, self.modules.home(raw), raw, types)
        return self._heads[place]

    def instantiate(self, raw: RawDef, types: dict[str, str], span: Span = NOWHERE) -> Definition:
        """A checked instance; raises Known if it has mistakes, SpecError if it needs itself."""
        from .definition import check_whole

        types = {REAL: types.get(REAL, REAL_INSTANCES[0])} if raw.uses_real else {}
        place = self._id(raw, types)
        if place in self._partial:
            return self._partial[place]  # its properties are being checked: they may refer back to it
        if place in self._stack:
            raise SpecError(span, f"{raw.name} calls itself; write a loop")
        if place not in self._whole:
            self._whole[place] = None
            self._stack.append(place)
            try:
                found = check_whole(self, self.modules.home(raw), raw, types)
            finally:
                self._stack.pop()
                self._partial.pop(place, None)
            self._whole[place] = found
            if found is not None:
                self.keys[found.key] = found
        out = self._whole[place]
        if out is None:
            raise Known()
        return out

    def body_done(self, raw: RawDef, types: dict[str, str], found: Definition) -> None:
        """The equations of `found` are checked; what is left (laws, derivatives) may call it."""
        self._partial[self._id(raw, types)] = found

    def later(self, raw: RawDef, types: dict[str, str]) -> None:
        """Check an instance after the current definition: one that may refer back to it."""
        self._waiting.append((raw, types))

    # ------------------------------------------------------------ the loaded file

    def _guard(self, span: Span, step: Callable[..., object], *args: object) -> None:
        try:
            step(*args)
        except RecursionError:
            self.log.add(SpecError(span, "nested too deeply; name parts of the expression in equations"))
        except SpecError as e:
            self.log.add(e)

    def _check_all(self) -> None:
        for module in self.modules.all():
            self.modules.check_names(module)
        for const in self.module.raw.consts:
            self.constant(self.module, const.name)
        for raw in self.module.raw.defs:
            self._guard(raw.span, self._check_one, raw)
        for const in self.module.raw.consts:
            if const.value.op in ("call", "mcall"):
                self._guard(const.span, self._make, const)
        while self._waiting:
            raw, types = self._waiting.pop()
            self._guard(raw.span, self.instantiate, raw, types)

    def _check_one(self, raw: RawDef) -> None:
        if raw.kind == "procedure" and any(p.type.base == "model" for p in raw.params):
            return  # a template: checked where it is made for a model
        for types in self.type_choices(raw):
            self.key(raw, types)
            self.instantiate(raw, types, raw.span)

    def _make(self, const: RawConst) -> None:
        from . import model

        model.instantiate(self, self.module, const)


def load(path: str | os.PathLike[str]) -> Program:
    """Read and check the spec at `path`; its mistakes are in `.errors`."""
    return Program(os.fspath(path))


def load_text(text: str, filename: str = "<text>") -> Program:
    """Check a spec given as text; imports are looked up beside `filename`."""
    return Program(filename, text)
