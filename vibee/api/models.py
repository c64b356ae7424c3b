"""A model on numpy arrays: its weights by name, forward, loss and gradient.

m = vibee.load("my.vibee").gpt2
sizes = dict(V=65, S=64, L=4, H=4, C=128)
w = m.init(0, **sizes)                          # one flat array
m.views(w, **sizes)["wte"]                      # its parts by name, no copies
loss, logits = m.forward(w, tokens, targets, **sizes)
loss, grads = m.gradient(w, tokens, targets, **sizes)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vibee.tree.defs import Definition, Model, Param

from . import arrays
from .values import size

if TYPE_CHECKING:
    from vibee.lower.model import Lowered

    from .function import Function
    from .library import Library

Weights = Any  # a flat array, or a mapping from names to arrays


class ModelFunctions:
    """A model's derived procedures, lowered and built when first used."""

    def __init__(self, library: Library, name: str, definitions: list[Definition]) -> None:
        self._library, self.__name__ = library, name
        self._models: dict[str, Model] = {}
        for d in definitions:
            assert isinstance(d, Model)
            self._models[d.weights_dtype] = d
        self._lowered: dict[str, Lowered] = {}
        self._functions: dict[tuple[str, str], Function] = {}
        self.source = definitions[0].source
        self.__doc__ = definitions[0].doc

    def __repr__(self) -> str:
        return f"<vibee model {self.__name__}({', '.join(self._first.sizes)})>"

    @property
    def _first(self) -> Model:
        return next(iter(self._models.values()))

    @property
    def _dtype(self) -> str:
        """The dtype of the weights where nobody says which."""
        return "f32" if "f32" in self._models else next(iter(self._models))

    # ------------------------------------------------------------ weights

    def parameters(self, **sizes: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all weights, in their order; one per layer has the layers in front."""
        out = {}
        sizes = self._told(sizes)
        for w in self._first.weights:
            shape = (w.copies, *w.shape) if w.copies is not None else w.shape
            out[w.name] = tuple(self._size(e, sizes) for e in shape)
        return out

    def count(self, **sizes: int) -> int:
        """The number of weights: the length of the flat array."""
        return sum(math.prod(s) for s in self.parameters(**sizes).values())

    def init(self, key: int = 0, *, dtype: str | None = None, threads: int | None = None, **sizes: float) -> np.ndarray:
        """New weights, one flat array: the same for the same key.  `sizes`: also the numbers that they depend on;
        `dtype`: of the weights, if there are several versions (f32 if it isn't told)."""
        f = self._function(dtype or self._dtype, "init")
        wanted = {p.name for p in f.definitions[0].params}
        given = {k: v for k, v in self._told(sizes).items() if k in wanted}
        return f(key, threads=threads, **given)  # type: ignore[no-any-return]

    def views(self, flat: np.ndarray, **sizes: int) -> dict[str, np.ndarray]:
        """The parts of a flat array of weights or gradients by name; they share its memory."""
        shapes, count, flat = self.parameters(**sizes), self.count(**sizes), arrays.view(self.__name__, "flat", flat)
        if flat.shape != (count,) or not flat.flags.c_contiguous:
            want = f"{count} elements in one axis without gaps"
            raise ValueError(f"{self.__name__}: argument flat must have {want}, got shape {list(flat.shape)}")
        out, at = {}, 0
        for name, shape in shapes.items():
            n = math.prod(shape)
            out[name] = flat[at : at + n].reshape(shape)
            at += n
        return out

    def flat(self, named: Mapping[str, np.ndarray], **sizes: int) -> np.ndarray:
        """One flat array of weights from arrays by name."""
        want = self.parameters(**sizes)
        if not isinstance(named, Mapping):
            raise ValueError(f"{self.__name__}: argument named must be weights by name, got {type(named).__name__}")
        unknown = sorted(set(named) - set(want))
        if unknown:
            raise ValueError(f"{self.__name__}: there is no weight {unknown[0]}; it has {', '.join(want)}")
        parts = []
        for name, shape in want.items():
            if name not in named:
                raise ValueError(f"{self.__name__}: the weight {name} is missing")
            x = np.asarray(named[name])
            if x.shape != shape:
                got = f"{list(shape)}, got {list(x.shape)}"
                raise ValueError(f"{self.__name__}: the weight {name} must have shape {got}")
            parts.append(x.ravel())
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    # ------------------------------------------------------------ runs

    def forward(self, weights: Weights, *inputs: Any, arena: Any = None, threads: int | None = None,
                **named: Any) -> Any:  # fmt: skip
        """All outputs.  `weights`: a flat array or arrays by name; `arena`: memory to work in."""
        return self._run("forward", weights, inputs, arena, threads, named)

    def loss(self, weights: Weights, *inputs: Any, arena: Any = None, threads: int | None = None,
             **named: Any) -> float:  # fmt: skip
        """The loss alone."""
        return self._run("loss", weights, inputs, arena, threads, named)  # type: ignore[no-any-return]

    def gradient(self, weights: Weights, *inputs: Any, arena: Any = None, threads: int | None = None,
                 **named: Any) -> Any:  # fmt: skip
        """The loss and its gradient by all weights: flat, or by name if the weights came by name."""
        return self._run("gradient", weights, inputs, arena, threads, named)

    def arena(self, part: str = "gradient", dtype: str | None = None, **sizes: int) -> np.ndarray:
        """Memory that is enough for `forward`, `loss` or `gradient` with these sizes (inputs' sizes too)."""
        return self._arena(self._planned(dtype or self._dtype, part), self._told(sizes))

    def _run(self, part: str, weights: Weights, inputs: tuple[Any, ...], arena: Any, threads: int | None,
             named: dict[str, Any]) -> Any:  # fmt: skip
        fn = f"{self.__name__}.{part}"
        m = self._first
        needed = [p for p in m.params if p.kind != "size" and p.default is None]
        if len(inputs) > len(needed):
            takes = ", ".join(p.name for p in needed)
            raise ValueError(f"{fn}: {len(inputs)} inputs, but it takes weights, {takes}; sizes are given by name")
        given = dict(zip((p.name for p in needed), inputs, strict=False))
        twice = sorted(given.keys() & named.keys())
        if twice:
            raise ValueError(f"{fn}: argument {twice[0]} is given twice")
        given |= named
        for p in m.params:
            if p.name not in given and p.default is None:
                raise ValueError(f"{fn}: argument {p.name} is missing")
        sizes: dict[str, int] = {}
        for name, place in m.sizes.items():
            if place[0] == "arg":
                x = given[place[1]] = arrays.view(fn, place[1], given[place[1]])
                arrays.check(fn, m.param(place[1]), x, writable=False)
                sizes[name] = x.shape[place[2]]
            else:
                sizes[name] = int(arrays.number(fn, m.param(name), given[name]))  # type: ignore[call-overload]
        by_name = isinstance(weights, Mapping)
        flat = self.flat(weights, **sizes) if by_name else arrays.view(fn, "weights", weights)
        dtype = next((name for name in self._models if arrays.fits(arrays.dtype_of(flat), name)), None)
        if dtype is None:
            got = arrays.dtype_of(flat)
            raise ValueError(f"{fn}: argument weights must be {' or '.join(self._models)}, got {got}")
        count = self.count(**sizes)
        if flat.ndim != 1 or flat.size != count:
            got = f"got shape {list(flat.shape)}"
            raise ValueError(f"{fn}: argument weights must have {count} elements in one axis, {got}")
        planned = self._planned(dtype, part)
        room = self._arena(planned, sizes) if arena is None else arena
        f = self._function(dtype, part)
        params = [p.name for p in f.definitions[0].params if p.kind in ("in", "mut")]
        flats = {params[0]: flat, planned.procedure.params[_arena_at(planned)].name: room}
        back = f(threads=threads, **flats, **given)
        if part == "gradient":
            loss, grads = back
            return loss, self.views(grads, **sizes) if by_name else grads
        return back

    def _arena(self, planned: Any, sizes: Mapping[str, int]) -> np.ndarray:
        n = self._size(planned.arena, sizes)
        dtype = planned.procedure.params[_arena_at(planned)].dtype
        try:
            return arrays.empty((n,), dtype)
        except (MemoryError, ValueError):
            raise MemoryError(f"{self.__name__}: the arena would have {n} elements of {dtype}") from None

    def _told(self, sizes: Mapping[str, Any]) -> dict[str, Any]:
        """Sizes, and numbers that weights depend on, as they were told by name."""
        params = {p.name: p for p in self._first.params} | {n: Param(n, "size", "i64") for n in self._first.sizes}
        for name in sizes:
            if name not in params or params[name].shape:
                raise ValueError(f"{self.__name__}: there is no size {name}; it has {', '.join(self._first.sizes)}")
        return {n: arrays.number(self.__name__, params[n], x) for n, x in sizes.items()}

    def _size(self, e: Any, sizes: Mapping[str, int]) -> int:
        from .values import Unknown

        try:
            return size(e, sizes)
        except Unknown:
            from vibee.tree.expr import free_vars

            missing = sorted(free_vars(e) - set(sizes))
            raise ValueError(f"{self.__name__}: the size {', '.join(missing)} is missing") from None

    # ------------------------------------------------------------ lowering

    def _lower(self, dtype: str) -> Lowered:
        from vibee.lower.model import lower_model

        if not isinstance(dtype, str) or dtype not in self._models:
            raise ValueError(f"{self.__name__}: there is no {dtype!s:.40} version; there are {', '.join(self._models)}")
        if dtype not in self._lowered:
            self._lowered[dtype] = lower_model(self._models[dtype], self._library._unit)
        return self._lowered[dtype]

    def _planned(self, dtype: str, part: str) -> Any:
        found = getattr(self._lower(dtype), part, None)
        if found is None:
            why = "with weights in bf16" if dtype == "bf16" else "without a loss, or that writes to its inputs,"
            raise ValueError(f"{self.__name__}: there is no {part}; a model {why} has forward alone")
        return found

    def _function(self, dtype: str, part: str) -> Function:
        from .function import Function

        lowered = self._lower(dtype)
        if (dtype, part) not in self._functions:
            found = lowered.init if part == "init" else self._planned(dtype, part).procedure
            d = self._library._unit.add(found)
            self._functions[dtype, part] = Function(self._library, f"{self.__name__}.{part}", [d])
        return self._functions[dtype, part]


def _arena_at(planned: Any) -> int:
    """The place of the arena among the parameters: the array whose size has no other use."""
    params = planned.procedure.params
    return max(k for k, p in enumerate(params) if p.kind == "mut" and p.name.startswith("arena"))
