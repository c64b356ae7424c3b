from __future__ import annotations
import sys, importlib
def infer(o):
    k = importlib.import_module("vibee._kernels.v4")
    import json, mmap
    print(o.prompt, k.total(1.0, 1000, 2))
    return 0
