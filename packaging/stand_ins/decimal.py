"""Stands in for the standard library's decimal in dist/vibee, where nothing makes a Decimal.

`fractions` imports the class, to convert from it.  Without the real one the executable is 140 KB smaller.
"""


class Decimal:
    """A type that nothing has."""
