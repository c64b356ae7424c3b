"""vibee: native kernels, models and a trainer from specifications.

`vibee.load("my.vibee")` compiles a spec and gives its definitions as functions on numpy
arrays.  Nothing is imported before it is used: the executable starts through this file.
"""

__version__ = "0.1.0"

__all__ = ["BuildError", "SpecError", "__version__", "load"]


def __getattr__(name: str) -> object:
    """The compiler's API, imported when it is first asked for."""
    if name == "BuildError":
        from vibee.build import BuildError

        return BuildError
    if name in ("SpecError", "load"):
        import vibee.api

        return getattr(vibee.api, name)
    raise AttributeError(f"module 'vibee' has no attribute {name!r}")
