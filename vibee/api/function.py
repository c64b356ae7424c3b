"""One definition of a spec, called with numpy arrays."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from vibee.emit.ctypes import bf16_bits
from vibee.tree.defs import Definition, Param
from vibee.tree.expr import Expr, show, walk

from . import arrays
from .again import Again, Kinds, again, gatherer, kinds
from .values import Unknown, size, value

if TYPE_CHECKING:
    from .library import Library


Suits = Callable[[Any, list[Param]], bool]


def default_threads() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Function:
    """A definition as a function: instances for several dtypes, the one that fits is called."""

    def __init__(self, library: Library, name: str, definitions: list[Definition]) -> None:
        self._library = library
        self.definitions = definitions
        self.__name__ = self.__qualname__ = name
        self.__doc__ = definitions[0].doc
        self.__module__ = definitions[0].module or "vibee"
        forms: dict[tuple, list[Definition]] = {}
        for d in definitions:
            forms.setdefault(tuple((p.name, len(p.shape)) for p in d.params), []).append(d)
        self._forms = [Function(library, name, ds) for ds in forms.values()] if len(forms) > 1 else []
        # What each call asks of its definitions, found once: a call costs microseconds, and small kernels take no more.
        params = definitions[0].params
        self._own = {p.name for p in params}
        self._buffers = [arrays.is_buffer(p) for p in params]  # alike in all definitions of a form
        self._of_numbers = all(p.kind == "scalar" for p in params) and not definitions[0].sizes
        self._told = {d.key: [g for g in d.given if _of_sizes(g)] for d in definitions}
        self._plain = {d.key for d in definitions if d.is_scalar}
        self._again: dict[Kinds, Again | None] = {}  # what calls before did, by the kinds of their arguments

    @property
    def source(self) -> str:
        """The definition as it stands in the spec."""
        return "\n\n".join(dict.fromkeys(d.source for d in self.definitions))

    @property
    def pyx(self) -> str:
        """The generated Cython of the module that this function is in."""
        return self._library._text(self.definitions[0])

    @property
    def unproved(self) -> list[str]:
        """What the prover left open, each as `file:line:column: obligation`: accesses that are checked at run
        time, and parallel loops that run serially."""
        return self._library._unproved(self.definitions)

    def __repr__(self) -> str:
        return f"<vibee {' or '.join(signature(f.definitions) for f in self._forms or [self])}>"

    # ------------------------------------------------------------ calls

    def _meant(self, args: tuple[Any, ...], named: dict[str, Any], grad: bool = False) -> Function:
        """The versions of one form that suit a call: by types and ranks of arrays, by ranks alone, or as numbers, which
        take arrays too; `grad`: more arguments may follow."""
        found = (f for how in (_suits, _has_axes, _may_map) for f in self._forms if f._takes(args, named, how, grad))
        return next(found, self._forms[0])

    def _takes(self, args: tuple[Any, ...], named: dict[str, Any], how: Suits, grad: bool) -> bool:
        params = self.definitions[0].params
        given = {**dict(zip((p.name for p in params), args, strict=False)), **named}
        known = {p.name for p in params} | self.definitions[0].sizes.keys() | {"dtype"}
        if not grad and (len(args) > len(params) or not named.keys() <= known):
            return False
        versions = {p.name: [d.params[k] for d in self.definitions] for k, p in enumerate(params)}
        return all(p.default is not None or p.name in given for p in params) and all(
            how(given[name], ps) for name, ps in versions.items() if name in given
        )

    def __call__(self, /, *args: Any, out: Any = None, threads: int | None = None, **named: Any) -> Any:
        """Run it.  Arrays are used in place; outputs are new arrays or those in `out`.  `dtype` ('f32', 'f64')
        says what `real` is; without it arrays, `out` and numbers tell, in this order."""
        if self._forms:
            return self._meant(args, named)(*args, out=out, threads=threads, **named)
        own = self._own
        if threads is not None and "threads" in own:
            named["threads"], threads = threads, None
        if out is not None and "out" in own:
            named["out"], out = out, None
        if "dtype" in named and "dtype" not in own:
            return self._of(named.pop("dtype"))(*args, out=out, threads=threads, **named)
        count = _threads(self.__name__, threads)
        outs = () if out is None else tuple(out) if isinstance(out, (tuple, list)) else (out,)
        like = None if named else kinds(args, outs)
        known = None if like is None else self._again.get(like)
        if known is None:
            return self._anew(args, named, outs, count, like)
        try:
            return known(args, outs, count)
        except (TypeError, ValueError, OverflowError, MemoryError) as e:
            wrong = e
        given = self.bind(args, named)
        self._passed(self.choose(given, outs), given, outs)  # says more about many errors
        raise wrong

    def _anew(self, args: tuple, named: dict[str, Any], outs: tuple, threads: int, like: Kinds | None) -> Any:
        """A call of which nothing is known yet."""
        given = self.bind(args, named)
        if self._of_numbers and any(map(arrays.spread, given.values())):
            return self._map(given, outs, threads)
        d = self.choose(given, outs)
        results = self.run(d, given, outs, threads)
        if like is not None and like not in self._again:
            self._again[like] = again(self, d, args, outs)
        return results

    def _of(self, dtype: Any) -> Function:
        """The function with only the instance for one type."""
        name = arrays.named(self.__name__, dtype)
        found = [d for d in self.definitions if d.key.endswith(f"_{name}")]
        if not found:
            raise ValueError(
                f"{self.__name__}: there is no version for dtype {name}; it is {signature(self.definitions)}"
            )
        return Function(self._library, self.__name__, found)

    def bind(self, args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        """Arguments by parameter name; those with a default may be missing."""
        fn, params = self.__name__, self.definitions[0].params
        if len(args) > len(params):
            raise ValueError(f"{fn}: {len(args)} arguments, but {signature(self.definitions)} takes {len(params)}")
        given = dict(zip((p.name for p in params), args, strict=False))
        for name, x in named.items():
            if name in given:
                raise ValueError(f"{fn}: argument {name} is given twice")
            if all(name != p.name for p in params) and self.definitions[0].sizes.get(name, ("",))[0] != "out":
                raise ValueError(f"{fn}: there is no argument {name}; it is {signature(self.definitions)}")
            given[name] = x
        for p, buffer in zip(params, self._buffers, strict=True):
            if p.name not in given and p.default is None:
                raise ValueError(f"{fn}: argument {p.name} is missing; it is {signature(self.definitions)}")
            if buffer:
                given[p.name] = arrays.view(fn, p.name, given[p.name])
        return given

    def choose(self, given: dict[str, Any], out: Any = None) -> Definition:
        """The instance whose dtypes are those of the arguments, and of `out` where they leave a choice."""
        fn, fitting = self.__name__, self.definitions
        params = self.definitions[0].params
        for k, p in enumerate(params):
            if not self._buffers[k]:
                continue
            got = arrays.dtype_of(given[p.name])
            if len(fitting) == 1 and got == fitting[0].params[k].dtype:
                continue
            left = [d for d in fitting if arrays.fits(got, d.params[k].dtype)]
            if not left:
                want = arrays.described(p, [d.params[k].dtype for d in fitting])
                raise ValueError(f"{fn}: argument {p.name} must be {want}, got {_shown(given[p.name], got)}")
            fitting = [d for d in left if d.params[k].dtype == got] or left
        if out is not None and len(fitting) > 1:
            outs = out if isinstance(out, (tuple, list)) else (out,)
            made = [arrays.dtype_of(arrays.view(fn, "out", x)) for x in outs]
            fitting = [d for d in fitting if [o.dtype for o in d.outs if o.shape] == made] or fitting
        for k, p in enumerate(params):
            if len(fitting) > 1 and not self._buffers[k] and p.kind != "size" and p.name in given:
                rank = {d.key: _affinity(given[p.name], d.params[k].dtype) for d in fitting}
                fitting = [d for d in fitting if rank[d.key] == min(rank.values())]
        return fitting[0]

    def run(self, d: Definition, given: dict[str, Any], out: Any, threads: int) -> Any:
        """Call one instance."""
        passed, numbers, results = self._passed(d, given, out)
        native = self._library._function(d)
        if d.key in self._plain:
            return native(*numbers)
        return gatherer(d)(results, native(*passed, *numbers, threads))

    def _passed(self, d: Definition, given: dict[str, Any], out: Any) -> tuple[list[Any], list[Any], list[Any]]:
        """What native code is given, arrays and numbers, all of it tested, and the arrays that results will be in."""
        fn = self.__name__
        names: dict[str, object] = {}
        passed: list[Any] = []
        cells: list[Any] = []
        numbers: list[Any] = []
        for p, buffer in zip(d.params, self._buffers, strict=True):
            if buffer:
                x = given[p.name]
                arrays.check(fn, p, x, writable=p.kind == "mut")
                passed.append(arrays.raw(x, p.dtype))
            else:
                x = given[p.name] if p.name in given else value(p.default, names)  # type: ignore[arg-type]
                names[p.name] = arrays.number(fn, p, x)
                (cells if p.is_array else numbers).append(names[p.name])
        for n, place in d.sizes.items():
            if place[0] == "arg":
                names[n] = given[place[1]].shape[place[2]]
            elif place[0] == "out":
                names[n] = self._free_size(d, n, place, given, out)
        self._check_given(d, names)
        if d.key in self._plain:
            _outs(fn, out, 0)  # the result is a number
            return [], numbers, []
        results, buffers = self._outputs(d, names, out)
        return [*passed, *buffers], [*cells, *numbers], results

    def _free_size(self, d: Definition, n: str, place: tuple, given: dict[str, Any], out: Any) -> int:
        """A size that no argument tells: by its name, or from the array in `out`."""
        told = arrays.number(self.__name__, Param(n, "size", "i64"), given[n]) if n in given else None
        outs = out if isinstance(out, (tuple, list)) else (out,)
        where = [o.name for o in d.outs if o.shape].index(place[1])
        if told is not None and (out is None or where >= len(outs)):
            return told  # type: ignore[return-value]
        if out is None or where >= len(outs):
            raise ValueError(f"{self.__name__}: the size {n} of the output {place[1]} is needed: {n}=... or out=...")
        shape = arrays.view(self.__name__, place[1], outs[where]).shape
        found = int(shape[place[2]]) if place[2] < len(shape) else 0
        if told is not None and told != found:
            raise ValueError(f"{self.__name__}: argument {n} is {told}, but output {place[1]} has shape {list(shape)}")
        return found

    def _check_given(self, d: Definition, names: dict[str, object]) -> None:
        """Conditions on sizes and i64, before memory for outputs is asked for.  Those on numbers of other types, which
        wrap around or are rounded, the generated wrapper tests."""
        for g in self._told[d.key]:
            try:
                holds = value(g, names)
            except (Unknown, ArithmeticError, TypeError, ValueError):
                continue  # about elements: the generated wrapper tests it
            if not holds:
                used = [n for n in names if n in show(g).replace("(", " ").replace(")", " ").split()]
                at = "".join(f", {n} = {names[n]}" for n in used).replace(", ", " at ", 1)
                raise ValueError(f"{self.__name__}: given {show(g)} does not hold{at}")

    def _outputs(self, d: Definition, names: dict[str, object], out: Any) -> tuple[list[np.ndarray], list[Any]]:
        fn = self.__name__
        wanted = [o for o in d.outs if o.shape]
        given = _outs(fn, out, len(wanted))
        results = []
        buffers = []
        for k, o in enumerate(wanted):
            if given:
                x = arrays.view(fn, o.name, given[k])
                if not arrays.fits(arrays.dtype_of(x), o.dtype):
                    got = _shown(x, arrays.dtype_of(x))
                    raise ValueError(f"{fn}: output {o.name} must be {arrays.described(o)}, got {got}")
                arrays.check(fn, o, x, writable=True, kind="output")
            else:
                shape = [size(e, names) for e in o.shape]
                if min(shape) < 0:
                    raise ValueError(f"{fn}: output {o.name} would have shape {shape}; {arrays.described(o)}")
                x = _empty(fn, o, shape)
            results.append(x)
            buffers.append(arrays.raw(x, o.dtype))
        return results, buffers

    def _map(self, given: dict[str, Any], out: Any, threads: int) -> Any:
        """A definition of numbers, for every element of arrays."""
        fn = self.__name__
        params = self.definitions[0].params
        fitting = self.definitions
        for k, p in enumerate(params):
            x = given.get(p.name)
            if isinstance(x, np.ndarray) or (arrays.spread(x) and arrays._has_buffer(x)):
                given[p.name] = x = arrays.view(fn, p.name, x)
                got = arrays.dtype_of(x)
                left = [d for d in fitting if arrays.fits(got, d.params[k].dtype)]
                if not left and x.ndim:
                    want = " or ".join(dict.fromkeys(d.params[k].dtype for d in fitting))
                    raise ValueError(f"{fn}: argument {p.name} must be {want}, a number or an array, got {got}")
                fitting = left or fitting
        d = fitting[0]
        values = {p.name: given[p.name] if p.name in given else value(p.default, {}) for p in d.params}  # type: ignore[arg-type]
        shape = _common_shape(fn, values)
        flat = [arrays.raw(_whole(fn, p, values[p.name], shape), p.dtype).reshape(-1) for p in d.params]
        given_out = _outs(fn, out, len(d.outs))
        results: list[np.ndarray] = []
        for k, o in enumerate(d.outs):
            y = arrays.view(fn, o.name, given_out[k]) if given_out else _empty(fn, o, list(shape))
            if y.shape != shape or not arrays.fits(arrays.dtype_of(y), o.dtype):
                raise ValueError(f"{fn}: output {o.name} must be {o.dtype} of shape {list(shape)}")
            if not y.flags.c_contiguous or not y.flags.writeable or not y.flags.aligned:
                raise ValueError(f"{fn}: output {o.name} must be C-contiguous, aligned and writable")
            if given_out and any(np.may_share_memory(y, x) for x in [*flat, *results]):
                raise ValueError(f"{fn}: output {o.name} shares memory with another array of the call")
            results.append(y)
        outs = [arrays.raw(y, o.dtype).reshape(-1) for y, o in zip(results, d.outs, strict=True)]
        self._library._mapped(d)(*flat, *outs, threads)
        return results[0] if len(results) == 1 else tuple(results)

    # ------------------------------------------------------------ gradient

    def grad(self, *args: Any, threads: int | None = None, **named: Any) -> Any:
        """The vector-Jacobian product: the arguments, then a cotangent for each real output."""
        from .gradient import gradient

        f = self._meant(args, named, True) if self._forms else self
        return gradient(f, args, named, _threads(self.__name__, threads))


def _of_sizes(g: Expr) -> bool:
    """May a condition be about sizes and i64 alone?"""
    return all(n.op != "cast" and n.dtype in ("i64", "bool", "") for n in walk(g))


def _has_axes(x: Any, versions: list[Param]) -> bool:
    return arrays.rank(x) == len(versions[0].shape)


def _suits(x: Any, versions: list[Param]) -> bool:
    return _has_axes(x, versions) and (
        not versions[0].shape
        or any(arrays.fits(arrays.dtype_of(arrays.view("", p.name, x)), p.dtype) for p in versions)
    )


def _may_map(x: Any, versions: list[Param]) -> bool:
    return _has_axes(x, versions) or not versions[0].shape


def _threads(fn: str, threads: int | None) -> int:
    if threads is None:
        return default_threads()
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or not 1 <= threads <= 4096:
        raise ValueError(f"{fn}: threads must be a whole number from 1 to 4096, got {arrays._short(threads)}")
    return int(threads)


def _outs(fn: str, out: Any, wanted: int) -> tuple[Any, ...]:
    """The arrays of `out`, none if there is no `out`."""
    given: tuple[Any, ...] = () if out is None else tuple(out) if isinstance(out, (tuple, list)) else (out,)
    if given and not wanted:
        raise ValueError(f"{fn}: out has no use here: the results are numbers")
    if given and len(given) != wanted:
        raise ValueError(f"{fn}: out must have {wanted} arrays, got {len(given)}")
    return given


def _common_shape(fn: str, values: dict[str, Any]) -> tuple[int, ...]:
    """The shape of arrays and numbers that are combined element by element."""
    shape: tuple[int, ...] = ()
    for name, x in values.items():
        try:
            shape = np.broadcast_shapes(shape, np.shape(x) if isinstance(x, np.ndarray) else ())
        except ValueError:
            raise ValueError(f"{fn}: argument {name} has shape {list(np.shape(x))}, but others {list(shape)}") from None
    return shape


def _whole(fn: str, p: Param, x: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An array or a number as an array of a shape."""
    try:
        if not (isinstance(x, np.ndarray) and x.ndim):
            n = arrays.number(fn, p, x)
            return np.full(shape, bf16_bits(n) if p.dtype == "bf16" else n, arrays.NUMPY[p.dtype])  # type: ignore[arg-type]
        return np.ascontiguousarray(np.broadcast_to(x, shape), arrays.NUMPY[p.dtype] if p.dtype != "bf16" else None)
    except MemoryError:
        raise MemoryError(f"{fn}: no memory for argument {p.name} in the shape {list(shape)}") from None


def _empty(fn: str, o: Param, shape: list[int]) -> np.ndarray:
    try:
        return arrays.empty(shape, o.dtype)
    except (ValueError, MemoryError, OverflowError):
        raise MemoryError(f"{fn}: no memory for output {o.name} of shape {shape}") from None


def _shown(x: np.ndarray, dtype: str) -> str:
    return f"{dtype}{list(x.shape)}"


def _affinity(x: object, dtype: str) -> int:
    """How far a Python or numpy number is from a dtype: 0 is its own."""
    if isinstance(x, np.generic | np.ndarray):
        return 0 if arrays.dtype_of(np.asarray(x)) == dtype else 2
    order = {
        bool: ["bool", "i64", "i32"],
        int: ["i64", "i32", "u64", "u32", "f64", "f32"],
        float: ["f64", "f32"],
    }.get(type(x), [])
    return order.index(dtype) if dtype in order else 9


def signature(definitions: list[Definition]) -> str:
    """`softmax(x: real[N, D]) -> y[N, D]`, with `f32|f64` where instances differ."""
    d = definitions[0]

    def typed(k: int, p: Param, *, out: bool = False) -> str:
        others = [(x.outs if out else x.params)[k].dtype for x in definitions]
        t = "size" if p.kind == "size" else "|".join(dict.fromkeys(others)).replace("f32|f64", "real")
        axes = f"[{', '.join(show(e) for e in p.shape)}]" if p.shape else ""
        if out:
            return f"{p.name}({t}{axes})"
        text = f"mut[{t}{axes}]" if p.kind == "mut" else t + axes
        default = f" = {show(p.default)}" if p.default is not None else ""
        return f"{p.name}: {text}{default}"

    params = ", ".join(typed(k, p) for k, p in enumerate(d.params))
    outs = ", ".join(typed(k, o, out=True) for k, o in enumerate(d.outs))
    outs = f"({outs})" if len(d.outs) > 1 else outs
    return f"{d.name}({params})" + (f" -> {outs}" if d.outs else "")
