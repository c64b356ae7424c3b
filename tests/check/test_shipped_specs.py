"""Where vibee's own specs are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from vibee.check.modules import specs_root


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    specs_root.cache_clear()
    yield
    specs_root.cache_clear()


def test_a_checkout_has_them_at_its_top() -> None:
    assert (Path(specs_root()) / "foundation" / "math.vibee").exists()


def test_the_executable_imports_what_unpacks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"vibee\._specs"):  # packaging/onefile.spec makes it
        specs_root()
    monkeypatch.setitem(sys.modules, "vibee._specs", ModuleType("vibee._specs"))
    assert (Path(specs_root()) / "foundation" / "math.vibee").exists()
