"""Source text to checked definitions: `load(path) -> Program`."""

from .errors import SpecError, SpecFailure
from .program import Program, load, load_text

__all__ = ["Program", "SpecError", "SpecFailure", "load", "load_text"]
