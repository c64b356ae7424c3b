"""Tests generated from specs: what a definition says about itself, tried on drawn sizes and values.

    vibee test my.vibee              every definition of a file (or of all files of a folder)

`vibee test` writes one short pytest module for each definition beside its built kernels; they call this package:

    numbers, oracle, procedures   a definition evaluated in higher precision, with a bound of the kernel's rounding
    draw                          sizes, numbers and arrays that satisfy `given`
    subject                       the kernels of one instance, on every instruction set, with guarded arrays
    checks, laws, gradients, refusals, models    what is compared
    generate, command             the modules, and the command
"""

from .checks import agrees, example, implements
from .gradients import gradient
from .laws import law, then
from .models import model
from .refusals import raises, refusals
from .subject import Spec, Subject, spec

__all__ = [
    "Spec", "Subject", "agrees", "example", "gradient", "implements", "law", "model", "raises", "refusals", "spec",
    "then",
]  # fmt: skip
