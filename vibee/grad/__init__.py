"""Derivatives: from a checked formula to the formula of its vector-Jacobian product."""

from .build import gradient_key, needs, vjp
from .rules import GradError

__all__ = ["GradError", "gradient_key", "needs", "vjp"]
