"""The helpers of these tests stand beside them."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))


@pytest.fixture
def asked_anew(monkeypatch, tmp_path):
    """The solver is asked, whatever was answered before this test."""
    from vibee.prove import linear, remembered

    monkeypatch.setattr(remembered, "_file", lambda: tmp_path / "proofs")
    for kept in (remembered._known, linear.implied):
        kept.cache_clear()
    yield
    for kept in (remembered._known, linear.implied):
        kept.cache_clear()
