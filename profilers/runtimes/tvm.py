"""TVM with its LLVM code generator, on the CPU."""

from __future__ import annotations

import importlib.metadata

_NEEDED = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.14.post0"}
"""With apache-tvm-ffi 0.1.15, which pip takes by itself, this TVM crashes when it writes tuning
records, and other releases of TVM have other interfaces."""

INSTALL = " ".join(f"'{name}=={version}'" for name, version in _NEEDED.items())


def _check_versions() -> None:
    """Refuse other releases before they are imported.

    Raises:
        ImportError: What is installed, and what is needed.
    """
    found = {}
    for name in _NEEDED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    if found != _NEEDED:
        are = ", ".join(f"{name} {version}" for name, version in found.items())
        need = ", ".join(f"{name} {version}" for name, version in _NEEDED.items())
        raise ImportError(f"installed: {are}; needed, together: {need}")


_check_versions()

import tvm  # noqa: E402

SETTINGS = ()
"""See `Runtime`."""


def version() -> str:
    """Returns the version of the installed TVM."""
    return str(tvm.__version__)
