"""Derivatives: from a checked formula to the formula of its vector-Jacobian product."""

from .build import cotangents, gradient_key, needs, vjp
from .rules import GradError

__all__ = ["GradError", "cotangents", "gradient_key", "needs", "vjp"]
