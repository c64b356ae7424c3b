"""Help for tests of the front end."""

import pytest

from vibee.check import Program, load_text


@pytest.fixture
def checked():
    """Check a text that must have no mistakes."""

    def run(text: str) -> Program:
        program = load_text(text, "case.vibee")
        assert not program.errors, "\n".join(map(str, program.errors))
        return program

    return run


@pytest.fixture
def mistakes():
    """The messages for a text."""

    def run(text: str) -> list[str]:
        return [e.message for e in load_text(text, "case.vibee").errors]

    return run
