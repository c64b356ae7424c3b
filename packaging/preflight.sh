#!/bin/bash
# Says in one line which Debian packages are missing for a build; prints nothing if all is there.
# Usage: packaging/preflight.sh PYTHON
set -u
python=${1:-python3.11}
missing=()

if ! command -v "$python" >/dev/null 2>&1; then
    missing+=(python3.11 python3.11-venv python3.11-dev)
else
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "vibee needs Python 3.11 or later; $python is $("$python" -V 2>&1). Name another: make PYTHON=python3.11 ..." >&2
        exit 1
    fi
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=("python$version-venv")
    "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || missing+=("python$version-dev")
fi
command -v gcc >/dev/null 2>&1 || missing+=(gcc libc6-dev)
command -v strip >/dev/null 2>&1 || missing+=(binutils)

if [ ${#missing[@]} -gt 0 ]; then
    echo "Missing Debian packages: ${missing[*]}. Install them with: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
