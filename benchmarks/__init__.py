"""Measurements: vibee beside numpy, PyTorch and others (run.py), and the executable (cold_start.py, contents.py)."""
