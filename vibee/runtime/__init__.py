"""The runtime of the command line: files, buffers, progress and the machine.

Standard library only, and little of it: these modules are part of the executable, where
every import is counted in milliseconds.  Nothing here computes; that is the kernels' work.
"""
