"""The table of results: goals with their ratios, as text, and as the JSON that docs/performance.md is made from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .side import Case, Goal, Result


def best(results: list[Result], name: str) -> Result | None:
    """The fastest of the results whose name begins so."""
    found = [r for r in results if (r.name + " ").startswith(name + " ") and not r.reason]
    return min(found, key=lambda r: r.median, default=None)


def judged(goal: Goal, results: list[Result]) -> dict[str, Any]:
    """The goal with what came of it; ratio None where one of the two is missing."""
    ours, theirs = best(results, goal.ours), best(results, goal.theirs)
    ratio = theirs.median / ours.median if ours and theirs else None
    return {
        **asdict(goal), "ratio": ratio, "met": None if ratio is None else ratio >= goal.factor,
        "against": theirs.name if theirs else None,
    }  # fmt: skip


def record(theme: str, case: Case, results: list[Result]) -> dict[str, Any]:
    """A row as it is kept."""
    return {
        "theme": theme, "work": case.work, "unit": case.unit, "results": [asdict(r) for r in results],
        "goals": [judged(g, results) for g in case.goals],
    }  # fmt: skip


def number(x: float) -> str:
    """Three digits that count."""
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}" if x >= 1 else f"{x:.3f}"


def verdict(goal: dict[str, Any]) -> str:
    """`1.42x of 1.4x`, with a mark if it is too little."""
    if goal["ratio"] is None:
        return "-"
    return f"{goal['ratio']:.2f}x of {goal['factor']:g}x{'' if goal['met'] else ' missed'}"


def lines(row: dict[str, Any]) -> list[str]:
    """A row as text: what was done, the times, the goals."""
    out = [f"{row['theme']}: {row['work']}"]
    for r in row["results"]:
        time = r["reason"] or f"{number(r['median'])} {row['unit']} (least {number(r['least'])}, {r['runs']} runs)"
        out.append(f"    {r['name']:24} {time}{'; ' + r['note'] if r['note'] else ''}")
    for g in row["goals"]:
        out.append(f"    {g['ours']} : {g['against'] or g['theirs']:24} {verdict(g)}")
    return out


def merge(path: Path, about: dict[str, Any], row: dict[str, Any]) -> None:
    """Put a row into the file, in place of an older one of the same work."""
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    same = [i for i, r in enumerate(rows) if (r["theme"], r["work"]) == (row["theme"], row["work"])]
    if same:
        rows[same[0]] = row
    else:
        rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
