# ruff: noqa: E501
"""Mutants of the compiler: one rule changed, in a copy of the package, and what finds it.

Tried on each: `cases.vibee` (its generated tests with compiled kernels, and its proofs).  Rules of the prover also on
`wrong.vibee`, of which nothing may be proved, and on the prover's fuzz.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SECONDS = 240  # of the processor for one run of a mutant; the clock may show five times as many
FUZZ = 80  # specs
ENOUGH = 0.95

# file, its text, the text instead, what it breaks
TABLE = [
    ("grad/rules.py", "self.push(e.args[1], product(adjoint, Term(Fraction(-1))), ranges)\n\n    def d_neg",
     "self.push(e.args[1], adjoint, ranges)\n\n    def d_neg", "the sign of a subtrahend's derivative"),
    ("grad/rules.py", "self.push(a, product(adjoint, term_of(b)), ranges)\n        self.push(b",
     "self.push(a, product(adjoint, term_of(a)), ranges)\n        self.push(b", "the factor in a product's derivative"),
    ("grad/rules.py", "replace(over, coeff=-over.coeff)", "replace(over, coeff=over.coeff)", "the sign for a divisor"),
    ("grad/rules.py", "Fraction(1, 2), (), ((e, -1),)", "Fraction(1, 1), (), ((e, -1),)", "one half for a root"),
    ("grad/rules.py", 'const(-1.0, e.dtype), zero)', 'const(1.0, e.dtype), zero)', "|x| below 0"),
    ("grad/rules.py", 'self.choose(e, "lt"', 'self.choose(e, "gt"', "min takes the greater side"),
    ("grad/rules.py", "self.push(b, [after(t, negate(c)) for t in adjoint], ranges)",
     "self.push(b, [after(t, c) for t in adjoint], ranges)", "the other side of where"),
    ("grad/rules.py", 'rest[k] = Expr("frozen", (e.args[k],), None, e.args[k].dtype)', "pass",
     "a stated derivative counts twice"),
    ("lower/reduction.py", "tail = For(name, whole, hi,", "tail = For(name, whole, sub(hi, i(1)),",
     "the last element of a sum"),
    ("lower/reduction.py", "half = LANES // 2", "half = LANES // 4", "half of the lanes of a sum"),
    ("lower/reduction.py", 'Expr("gt" if op == "argmax"', 'Expr("ge" if op == "argmax"', "the first of equals"),
    ("lower/reduction.py", "i(BLOCKS - 1)), i(BLOCKS))),\n        Alloc", "i(BLOCKS - 2)), i(BLOCKS))),\n        Alloc",
     "the end of the last block"),
    ("lower/nest.py", "neutral(op, acc.dtype)), *run]", "neutral('sum', acc.dtype)), *run]", "where a running maximum begins"),
    ("lower/nest.py", "each(Store(acc, (local(c),), neutral(op, r.dtype))),", "", "sums down columns begin with anything"),
    ("lower/nest.py", "first = mul(local(block), i(side))", "first = mul(local(block), i(side - 1))",
     "the place of a block of columns"),
    ("lower/reduction.py", "substitute(term, {beside: k})", "substitute(term, {beside: i(0)})",
     "the second vector of sums side by side"),
    ("lower/reduction.py", "for n in (k, k + half)]", "for n in (k, k)]", "the upper half of the lanes of a sum"),
    ("lower/transpose.py", "For(self.col, whole, cols,", "For(self.col, cols, cols,", "columns beside the squares of a transpose"),
    ("lower/transpose.py", "(rest, sub(dim[self.row], left))", "(rest, sub(left, left))", "rows below the squares of a transpose"),
    ("lower/nest.py", 'body = [For(name, i(0), at_least_zero(hi), body, parallel=True)]',
     'body = [For(name, i(1), at_least_zero(hi), body, parallel=True)]', "the first iteration of a parallel nest"),
    ("lower/nest.py", "if e.accumulate and not in_place(e):\n            return self._scatter(e)", "", "scatter-adds"),
    ("lower/contraction.py", "        zero = const(0, self.dtype)\n        fill = nest", "        return []\n        fill = nest",
     "zeros where a product has no terms"),
    ("lower/contraction.py", 'return Expr("gt", (local(self.k_start)', 'return Expr("ge", (local(self.k_start)',
     "the first run of k adds to what was there"),
    ("lower/contraction_copies.py", "col = add(self._column(), jj)", "col = self._column()", "the columns of a panel"),
    ("lower/contraction_copies.py", "col: add(self._column(), column)}", "col: self._column()}",
     "the squares of a panel that are turned over"),
    ("lower/contraction_copies.py", "For(self.kk, mul(whole, i(side)),", "For(self.kk, mul(add(whole, i(1)), i(side)),",
     "what is left of k beside squares"),
    ("lower/contraction_copies.py", 'Expr("vload", source(i(at)).args', 'Expr("vload", source(i(0)).args',
     "the second vector of rows across k"),
    ("lower/contraction_copies.py", "For(self.it, whole, tiles, self._last_rows", "For(self.it, tiles, tiles, self._last_rows",
     "the last rows across k"),
    ("emit/families.py", "side + lane - s if lane & s else lane", "side + lane if lane & s else lane",
     "the lanes that change places"),
    ("lower/contraction.py", "Decl(wide, \"i64\", self._wide()),", "Decl(wide, \"i64\", i(self.nr)),", "the edge of the last panel"),
    ("lower/contraction.py", "add(row0, i(r)), add(col0, i(v * self.width))",
     "add(row0, i(r)), add(col0, i(0))", "the second vector of a tile"),
    ("lower/contraction.py", "local(self.row_at[row])", "local(self.row_at[0])", "the rows of a tile that are read where they are"),
    ("lower/contraction.py", "{self.kk: add(local(self.kk), i(1))}", "{self.kk: local(self.kk)}", "the second of two k"),
    ("lower/contraction.py", "For(self.kk, even, local(self.k_run), step),", "", "the last of an odd number of k"),
    ("lower/contraction_copies.py", "sub(hi, i(self.longest - self.run))", "sub(hi, i(self.longest))",
     "a rest of k that is too long for the run before it"),
    ("lower/direct.py", "replace(both, accumulate=True)", "both", "a product is put where it is added"),
    ("lower/direct.py", "cols[1],\n                [", "start,\n                [", "columns beyond whole vectors"),
    ("lower/direct.py", "For(tile, whole, rows[1],", "For(tile, add(whole, i(1)), rows[1],", "rows beyond whole tiles"),
    ("lower/direct.py", "start = stop\n", "start = start\n", "columns are summed by several tiles"),
    ("lower/stream.py", "put.array, tuple(substitute(e, {s.var: i(k)}) for e in put.idx),",
     "put.array, tuple(substitute(e, {s.var: i(0)}) for e in put.idx),", "where the vectors of a line are written"),
    ("lower/stream.py", "replace(s, lo=whole)]", "]", "what is left beside whole lines"),
    ("lower/stream.py", "For(base, s.lo, whole, line, step=LANES)", "For(base, s.lo, s.hi, line, step=LANES)", "the last line is whole"),
    ("lower/procedure.py", "total = combine(op, whole, load(parts", "total = combine('max', whole, load(parts",
     "parts of a parallel sum"),
    ("lower/procedure.py", 'Expr("min", (add(start, local(size)), s.hi), None, "i64")\n        before',
     'add(start, local(size))\n        before', "the end of the last part of a parallel sum"),
    ("emit/families.py", "256((lanes)b, (lanes)a", "256((lanes)a, (lanes)b", "the sides of where in lanes"),
    ("emit/lanes.py", '"and": "bitand"', '"and": "bitor"', "and in lanes"),
    ("emit/lanes.py", "if _in_place(puts):", "if False:", "an element that is read and written is computed twice"),
    ("emit/lanes.py", "_one_by_one(rest, v", "_one_by_one(rest + ' + 1', v", "the first that vectors leave"),
    ("emit/families.py", "_{name}(b, a{more})", "_{name}(a, b{more})", "what is no number among those that a maximum is of"),
    ("emit/ops.py", "bits - 1})\"", "bits - 2})\"", "the count of a shift"),
    ("emit/ops.py", '("&", 8) if e.op == "and" else ("|", 6)', '("|", 8) if e.op == "and" else ("|", 6)', "and"),
    ("emit/ops.py", 'return f"~{ex', 'return f"-{ex', "the complement"),
    ("emit/ops.py", "if positive and nonnegative(x, b):", "if positive:", "division rounds to zero"),
    ("emit/ops.py", "return f\"{typed[0]} if {ex(c, b, 1)} else {typed[1]}\"",
     "return f\"{typed[1]} if {ex(c, b, 1)} else {typed[0]}\"", "the sides of where"),
    ("emit/ops.py", 'return (ex(e.args[0], b, ATOM), ATOM) if not', 'return (ex(e.args[0], b, ATOM), ATOM) if', "rounding"),
    ("prove/bounds.py", "extra = run - 1 if n == len(idx) - 1 else 0", "extra = 0", "the last lane of a vector"),
    ("prove/bounds.py", "goal = conjunction(low, high)", "goal = high", "negative indices"),
    ("prove/bounds.py", "self.facts.enter(s, kept)\n        s = replace(s, cond",
     "self.facts.known = [*self.facts.known, *kept]\n        s = replace(s, cond",
     "facts live on in a while that breaks them"),
    ("prove/bounds.py", "self.facts.enter(s, kept)\n        s = replace(s, cond=self.overflow.exact(s.cond, not self.silent))",
     "s = replace(s, cond=self.overflow.exact(s.cond, not self.silent))\n        self.facts.enter(s, kept)",
     "the sums in the condition of a while as before it"),
    ("prove/bounds.py", "self.facts.known = before\n        self.facts.assume(opposite(s.cond))\n        orelse",
     "self.facts.assume(opposite(s.cond))\n        orelse", "else keeps the facts of if"),
    ("prove/facts.py", "self.known = [f for f in self.known if not (names_in(f) & names)]", "pass", "facts never end"),
    ("prove/facts.py", 'compare("lt" if up else "gt", v, s.hi)', 'compare("lt" if up else "gt", v, Expr("sub", (s.hi, const(1, "i64")), None, "i64"))',
     "a loop's last iteration is forgotten"),
    ("prove/facts.py", '("le", (ZERO, b)), ("lt", (b, size))', '("lt", (b, size)),', "facts about elements before the first"),
    ("prove/linear.py", "z3.And(rz >= 0, rz < bz)", "z3.And(rz > 0, rz < bz)", "a remainder is never 0"),
    ("prove/linear.py", "first = a <= b if e.op == \"min\"", "first = a >= b if e.op == \"min\"", "min is max"),
    ("prove/linear.py", 'return z3.And(*parts) if e.op == "and"', 'return z3.Or(*parts) if e.op == "and"', "and is or"),
    ("prove/linear.py", "z3.Implies(x > 0, p >= f)", "z3.Implies(x > 0, p > f)", "a lemma about products"),
    ("prove/races.py", "facts: list[Expr] = field(hash=False)", "facts: list[Expr] = field(compare=False)",
     "an element is accessed under one condition alone"),
    ("prove/ends.py", "not (isinstance(t, Assign) and _adds(t.name, t.value))", "not isinstance(t, Assign)",
     "what a loop inside makes smaller"),
    ("prove/races.py", "if any(a.write for a in accesses):", "if all(a.write for a in accesses):", "reads in a race"),
    ("prove/races.py", "return bool(set.intersection(*axes))", "return bool(set.union(*axes))", "one row of one access is enough"),
    ("prove/races.py", "later = {n: var(f\"{n}'\") for n in moved |", "later = {n: var(f\"{n}\") for n in moved |", "two iterations are one"),
    ("prove/races.py", "and all(_inside(", "and any(_inside(", "one access is inside its band"),
    ("prove/races.py", "if _in_order(known, (ends_before,), moved) and all(", "if all(", "bands in any order"),
    ("prove/races.py", 'None, "i64"),), facts=common)', 'None, "i64"),))', "bands under the conditions of one access"),
    ("prove/regions.py", "if constant_apart(a.box[n][1], b.box[n][0]) != 0:", "if constant_apart(a.box[n][1], b.box[n][0]) is None:",
     "boxes with a gap become one"),
    ("prove/regions.py", '[compare("le", own[0], e), compare("lt", e, own[1])]', '[compare("le", own[0], e)]',
     "boxes have no end"),
    ("prove/regions.py", "if not r.where:\n                break", "if True:\n                break", "one side of a branch is enough"),
    ("prove/written.py", "self.values = values\n        self.forget(moved)\n        self.facts", "self.values = values\n        self.facts",
     "a place is what it was before a branch"),
    ("prove/written.py", "self.facts.drop(changed([s]))\n            self.forget({s.array})", "self.facts.drop(changed([s]))",
     "a condition on an element holds after it changed"),
    ("prove/written.py", "        self.reads(s.cond, s.span)\n        self.facts.assume", "        self.facts.assume",
     "what the condition of a while reads"),
    ("prove/regions.py", 's.hi.op != "mul" or count not in s.hi.args', 's.hi.op != "mul"', "pairs of another product"),
    ("prove/regions.py", "For(inner, ZERO, count, [])", "For(inner, ZERO, Expr('add', (count, const(1, 'i64')), None, 'i64'), [])",
     "one more than there are of each row"),
    ("prove/regions.py", 'ahead = "lt" if s.step > 0 else "gt"', 'ahead = "lt"', "a loop downwards that does not run"),
    ("tree/expr.py", "copysign(1, self.attr) != copysign(1, other.attr)", "False", "zeros of both signs are one"),
    ("prove/written.py", 'early = any(', 'early = not any(', "what a loop writes that is left early"),
    ("prove/written.py", "self.block(s.body)\n        self.have = start", "self.block(s.body)",
     "what a while writes that may not run"),
    ("prove/written.py", "both = joined(self.facts, s.cond, new[0], new[1]) if any(new) else []",
     "both = [*new[0], *new[1]]", "what one side of a branch writes"),
    ("prove/counters.py", "return far if far <= BEGIN else None", "return far", "where a counter begins"),
    ("prove/magnitude.py", "if a.natural or small(a.size) else", "if True else", "the least number has an opposite"),
    ("prove/overflow.py", "return Bounds({}, inner.high) if small(inner.high) else UNKNOWN", "return inner", "a u64 is an i64"),
    ("prove/overflow.py", "replace(q, shape=tuple(map(o.exact, q.shape)))", "q", "lengths that wrap around"),
    ("prove/magnitude.py", "if a.natural and small(size) else size, size", "if a.natural else size, size", "a shift that wraps around"),
    ("prove/linear.py", "plain = z3.Or(bz > 0, bz < -1, z3.And(bz == -1, self.term(a) > least))", "plain = bz != 0",
     "the least number divided by -1"),
    ("prove/overflow.py", "if tuple(substitute(k, here) for k in at.args) != e.args:", "if False:",
     "what is given of a diagonal is given of all"),
    ("prove/overflow.py", "while marked != p.given:", "while False:",
     "conditions that bound each other"),
    ("prove/facts.py", "plain = [c for c in parts if tested(c, d) == 0]", "plain = [c for c in parts if not [*loads(c)]]",
     "what is given and not tested"),
    ("prove/overflow.py", "if size is None or not _testable(size):", "if size is None:", "any bound can be tested"),
    ("prove/overflow.py", "self.needed = most(self.needed, size) or {}", "self.needed = size",
     "one test on entry for all operations"),
    ("prove/overflow.py", 'Expr("abs", (x,), None, "f64")', "x", "the test on entry for negative numbers"),
    ("prove/overflow.py", 'if op in ("lt", "le", "eq") and', 'if op in ("lt", "le", "eq", "ge") and',
     "a bound below is one above"),
    ("prove/magnitude.py", "size = mul(a.size, b.size)", "size = add(a.size, b.size)", "the bound of a product"),
    ("prove/magnitude.py", "one(1 << by)", "one(by)", "the bound of a shift"),
    ("prove/ranges.py", "if scan.attr[1] not in free_vars(c))", "if True)", "a running value takes in earlier elements"),
    ("prove/ranges.py", "same = same and name not in free_vars(top)", "pass", "one maximum for all terms of a sum"),
    ("prove/ranges.py", "self.env[o.name] = Interval(0, 0, False)", "pass", "results are 0 before they are set"),
    ("prove/domain.py", "divisors=not claims(inner.d)", "divisors=False", "divisors in functions that claim nothing"),
    ("prove/demands.py", "return all(facts.prove(exact(x, facts)) for x in conjuncts(c))", "return True",
     "what a formula that is called asks"),
    ("prove/demands.py", "or _fits(e, facts)", "or True", "what a formula that is called asks may wrap around"),
    ("prove/demands.py", "given = [exact(g, facts) for g in d.given]", "given = d.given",
     "what is given of the caller of a formula may wrap around"),
    ("prove/ranges.py", "and not names_in(e.rhs) & later", "", "what is made of an array before it is added to"),
    ("prove/ranges.py", 'and not any(n.op == "scan" for n in walk(e.rhs))', "", "a running value at one place"),
    ("prove/ranges.py", "of_nan or not any(self.of(a, known).nan for a in compares.args)", "True",
     "a nan satisfies no comparison"),
    ("prove/calls.py", "(overflow.at(known, goal), known)", "(goal, known)", "what a procedure asks may wrap around"),
    ("prove/bounds.py", "self.overflow.exact(substitute(c, table), not self.silent)", "substitute(c, table)",
     "what a function of numbers asks may wrap around"),
]  # fmt: skip

# the definitions of cases.vibee that a folder's rules are tried on; for the prover, those of random specs
ON = {
    "grad/rules.py": ("smooth", "stated", "through"), "lower/reduction.py": ("whole", "soft", "downward"), "lower/transpose.py": ("transposed",),
    "lower/nest.py": ("downward", "lowest", "running", "scattered", "below"), "lower/contraction.py": ("product",),
    "lower/contraction_copies.py": ("product", "turned", "across"),
    "lower/stream.py": ("lines",),
    "lower/direct.py": ("added", "products", "totals"), "lower/procedure.py": ("length",),
    "emit/ops.py": ("bits", "halves", "narrow", "below"), "emit/families.py": ("highest", "turned", "chosen"),
    "emit/lanes.py": ("chosen", "shifted"), "prove/regions.py": ("front", "gap", "maybe", "never_down", "paired", "narrow_pairs"),
    "prove/written.py": ("partly", "front", "perhaps", "maybe", "soft_online", "moved_place", "moved_condition",
                         "looked_ahead"),
    "prove/overflow.py": ("wrapped",),
    "all": tuple(re.findall(r"^def (\w+)", (HERE / "cases.vibee").read_text(), re.MULTILINE)),
}  # fmt: skip


# what changes nothing but the speed of what is made: nothing can find it
SAME = {
    "the edge of the last panel": "its vectors are not proved, so the product is lowered again without them",
    "columns are summed by several tiles": "the same sums are made again",
    "one side of a branch is enough": "fewer of the boxes are kept that both sides were shown to write, none too many",
}


def copied(folder: Path) -> Path:
    """A copy of what the mutants change and run."""
    for part in ("vibee", "tests/prove", "tests/mutants"):
        shutil.copytree(
            ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c", "*.pyx")
        )
    (folder / "specs").symlink_to(ROOT / "specs")
    return folder


def in_time() -> None:
    """A process that does not end is ended."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))


def tried(tree: Path, file: str) -> tuple[str, str]:
    """What finds the change in `file` of a copy, and what it said; ("", "") if nothing does."""
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": str(tree / "cache")}
    tests = [sys.executable, str(tree / "tests/mutants/kernels.py"), *ON.get(file, ())]
    wrong = [sys.executable, str(tree / "tests/mutants/kernels.py"), "--wrong"]
    fuzz = [sys.executable, str(tree / "tests/prove/fuzz.py"), "--count", str(FUZZ), "--workers", "1"]
    runs = [("tests", tests), *([("wrong", wrong), ("fuzz", fuzz)] if file.startswith(("prove/", "tree/")) else [])]
    for name, command in runs:
        try:
            done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False,
                                  timeout=5 * SECONDS, preexec_fn=in_time)  # fmt: skip
        except subprocess.TimeoutExpired:
            return "time", ""
        if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            return "time", ""
        if done.returncode:
            said = [
                x
                for x in (done.stdout + "\n" + done.stderr).splitlines()
                if x.startswith(("WRONG", "FAILED", "PROOF", "SAFE"))
            ]
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            return ("prover" if said and said[0].startswith("PROOF") else name), (said or last or [""])[0][:160]
    return "", ""


def run(only: str = "") -> int:
    """Try every change; counts, and those that nothing finds."""
    counts: Counter[str] = Counter()
    alive, start = [], time.time()
    with TemporaryDirectory(prefix="mutants-") as name:
        tree = copied(Path(name))
        for file in ("all", "prove/"):
            found = tried(tree, file)
            if found[0]:
                raise RuntimeError(f"the unchanged compiler does not pass: {found}")
        for file, old, new, what in TABLE:
            if only and only not in file:
                continue
            path = tree / "vibee" / file
            text = path.read_text()
            if text.count(old) < 1:
                raise RuntimeError(f"{file}: this text is not there: {old}")
            path.write_text(text.replace(old, new, 1))
            begin = time.time()
            by, said = tried(tree, file)
            path.write_text(text)
            by = by or ("equivalent" if what in SAME else "survived")
            counts[by] += 1
            print(f"{time.time() - begin:6.1f} s  {by:10} {file}: {what}  [{said or SAME.get(what, '')}]", flush=True)
            if by == "survived":
                alive.append(f"{file}: {what}")
    total = sum(counts.values())
    matter = total - counts["equivalent"]
    share = (matter - len(alive)) / max(matter, 1)
    print(f"{total} changes of the compiler, {share:.1%} of those that matter die: " + ", ".join(f"{n} {k}" for k, n in counts.most_common())
          + f"; {time.time() - start:.0f} s")  # fmt: skip
    for line in alive:
        print(f"survived: {line}")
    return 0 if share >= ENOUGH else 1
