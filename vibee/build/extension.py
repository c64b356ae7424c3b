"""From a Cython text to an imported module, built at most once for each content."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import sysconfig
import tempfile
import threading
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from .cache import cache_folder
from .compiler import compile_c, cythonize, shared_views
from .errors import BuildError
from .flags import OPENMP, compile_flags, default_isa, has_levels, link_flags

SPIN = "2000"  # 20 to 80 microseconds

_lock = threading.RLock()


def _cython_version() -> str:
    try:
        import Cython
    except ImportError as e:
        raise BuildError("Cython is not installed: pip install cython") from e
    return str(Cython.__version__)


def _digest(*parts: str) -> str:
    tag = (_cython_version(), sysconfig.get_config_var("SOABI") or sys.version, os.environ.get("CC", ""))
    return hashlib.sha256("\0".join([*tag, *parts]).encode()).hexdigest()[:16]


def _flags(isa: str) -> str:
    return " ".join([*compile_flags(isa), *link_flags(), *OPENMP])


def views_module() -> str:
    """Import the module with Cython's memoryview code, built on first use; gives its name."""
    isa = "v2" if has_levels() else "native"  # the cache may be shared with an older machine
    name = f"vibee_views_{_digest('views', _flags(isa))}"
    if name in sys.modules:
        return name
    path = cache_folder() / f"{name}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(prefix="tmp-", dir=path.parent) as work:
            c = Path(work) / f"{name}.c"
            shared_views(c)
            so = Path(work) / f"{name}.so"
            compile_c(c, so, isa, path.with_suffix(".log"), optimize=False)
            os.replace(so, path)
    load_extension(path, name)
    return name


def build(text: str, stem: str, isa: str | None = None) -> tuple[Path, str]:
    """Build the module with this Cython text unless the cache has it; gives its path and name.

    Two processes may build the same module at once: each works in a folder of its own and
    the finished file is moved into place.
    """
    isa = isa or default_isa()
    name = f"vibee_{_identifier(stem)}_{_digest(text, isa, _flags(isa))}"
    path = cache_folder() / f"{name}.so"
    with _lock:
        views = views_module()
        if path.exists():
            return path, name
        with tempfile.TemporaryDirectory(prefix="tmp-", dir=path.parent) as work:
            pyx = Path(work) / f"{name}.pyx"
            pyx.write_text(text)
            shutil.copyfile(pyx, path.with_suffix(".pyx"))  # for whoever wants to read it
            try:
                c = cythonize(pyx, name, shared=views)
            except BuildError:
                for listing in Path(work).glob("*.lis"):
                    shutil.copyfile(listing, path.with_suffix(".lis"))
                raise _moved(work, path.parent) from None
            so = Path(work) / f"{name}.so"
            compile_c(c, so, isa, path.with_suffix(".log"))
            os.replace(so, path)
    return path, name


def _moved(work: str, folder: Path) -> BuildError:
    """The error being handled, with paths that still exist after the work folder is gone."""
    return BuildError(str(sys.exc_info()[1]).replace(work, str(folder)))


def _identifier(stem: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in stem)[:40]


def load_extension(path: Path, name: str) -> ModuleType:
    """Import a built module from its file."""
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path, loader=ExtensionFileLoader(name, str(path)))
    assert spec is not None and spec.loader is not None
    # OpenMP reads its settings when it is loaded.  By default idle threads spin for milliseconds; on a
    # machine that is busy with other things, that keeps the very thread waiting that they wait for.
    mine = "GOMP_SPINCOUNT" not in os.environ
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN)
    try:
        module = module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    except ImportError as e:
        sys.modules.pop(name, None)
        raise BuildError(f"{path} cannot be imported: {e}") from e
    finally:
        if mine:
            del os.environ["GOMP_SPINCOUNT"]
    return module
