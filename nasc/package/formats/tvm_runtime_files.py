"""What lies beside a library of TVM in a package: TVM's runtime, its licences, and what calls it.

The runtime's files are those of the wheels that this nasc is held to, byte for byte: of any others
nothing would be known.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from device_profiles.reading import FileRefused, read_bytes
from nasc.errors import PackageError

RUNTIME = "libtvm_runtime.so"
FFI = "libtvm_ffi.so"

MAX_BYTES = 16 << 20
"""What one of these files may hold; the largest has 3.4 MB (apache-tvm 0.27.0.post1)."""

_TVM, _TVM_FFI = "apache-tvm", "apache-tvm-ffi"

_RELEASES = {_TVM: "0.27.0.post1", _TVM_FFI: "0.1.14.post0"}
"""Those that `profilers.runtimes.tvm` is held to."""

_SOURCES: Mapping[str, tuple[str, str]] = {
    RUNTIME: (_TVM, "tvm/lib/libtvm_runtime.so"),
    FFI: (_TVM_FFI, "tvm_ffi/lib/libtvm_ffi.so"),
    "tvm-ffi/c_api.h": (_TVM_FFI, "tvm_ffi/include/tvm/ffi/c_api.h"),
    "dlpack/dlpack.h": (_TVM_FFI, "tvm_ffi/include/dlpack/dlpack.h"),
    "licenses/tvm-LICENSE": (_TVM, "tvm/LICENSE"),
    "licenses/tvm-NOTICE": (_TVM, "tvm/NOTICE"),
    "licenses/tvm-builtin_fp16-LICENSE": (_TVM, "tvm/licenses/LICENSE.builtin_fp16.txt"),
    "licenses/tvm-ffi-LICENSE": (_TVM_FFI, "{info}/licenses/LICENSE"),
    "licenses/tvm-ffi-NOTICE": (_TVM_FFI, "{info}/licenses/NOTICE"),
    "licenses/libbacktrace-LICENSE": (_TVM_FFI, "tvm_ffi/3rdparty/libbacktrace/LICENSE"),
}
"""By name in a package, the distribution that a file comes with and its place there. The half
precision of compiler-rt is compiled into each library, libbacktrace into libtvm_ffi.so."""

_HASHES: Mapping[str, tuple[str, ...]] = {
    f"{RUNTIME} x86_64": ("43544bbeaea3cd3ffa919f7eac77244753aff28d1440c42f1ba8df03fa6e3948",),
    f"{RUNTIME} aarch64": ("ba06950fac134b8d71549111fad2c6605cd6f738061fe0482f217c37ccbdff05",),
    f"{FFI} x86_64": ("29242cd8cd6590ff3a82806b25e0b756c9a0cece87e15d69f5f5ff9cb971c467",),
    f"{FFI} aarch64": ("255ca850a0714b1c27bcc0841a53d479fa0100459d08a1fdddc852ab8a6214f7",),
    "tvm-ffi/c_api.h": ("66a4d3cdb38c327ec672b809db2b75dacd1247f62d9ede62bcde882063864a7f",),
    "dlpack/dlpack.h": ("62052bef24bd69bb7b52e95428f9e99bd7951783850c36c5f2a41e71fd63c2fc",),
    "licenses/tvm-LICENSE": ("e62264b483aca7a9f8c1ac69388b476971b43975ced90ac11dbd9e9c530edb46",),
    "licenses/tvm-NOTICE": ("967cd2fb97712c43271e2b1c4f636c4d8823898869f0f76f65bf8a3232584f0f",),
    "licenses/tvm-builtin_fp16-LICENSE": (
        "1a8f1058753f1ba890de984e48f0242a3a5c29a6a8f2ed9fd813f36985387e8d",
    ),
    "licenses/tvm-ffi-LICENSE": (
        "bb354d8b94589ad8817f2dff029d39a1133d217407f73679d0b0311c980e511f",
    ),
    "licenses/tvm-ffi-NOTICE": (
        "5181189219b74687e08884d813b8f98c874d0e4ba84eb7afc4bb350d22502c24",
    ),
    "licenses/libbacktrace-LICENSE": (
        "ef8a9b3247488f8901ca60de9b17b745d7bd67e5ec1e622f80d62364572200d8",
    ),
}
"""sha256 of each, of the wheels apache-tvm 0.27.0.post1 and apache-tvm-ffi 0.1.14.post0 on PyPI for
Linux on both processors (those of Python 3.11 to 3.14 hold the same; November 2026). Packages of
other releases of TVM will add theirs; add, never replace."""

ARCHITECTURES = ("x86_64", "aarch64")
"""Processors whose runtime is known, as `platform.machine` says them."""

_CALLERS = Path(__file__).parent / "tvm_callers"

CALLERS = ("encoder.py", "encoder.h", "encoder.c", "encoder.hpp", "example.c", "example.cpp")
"""Programs' ways in: the same text in every package."""

FILES = (*_SOURCES, *CALLERS)
"""Names of all of them in a package."""


def why_missing(arch: str) -> str:
    """Why the files cannot be put into a package for such a processor; empty if they can.

    Args:
        arch: As `platform.machine` says it.
    """
    if arch not in ARCHITECTURES:
        return f"TVM's runtime is known for {' and '.join(ARCHITECTURES)} only"
    try:
        for name in _SOURCES:
            _content(name, arch)
    except PackageError as error:
        return str(error)
    return ""


def write_files(folder: Path, arch: str) -> None:
    """Write all of them.

    Args:
        folder: Of a package.
        arch: Of the processor that the library is for.

    Raises:
        PackageError: If TVM is not installed, or is not what its wheels hold.
        OSError: If a file cannot be written.
    """
    for name in FILES:
        path = folder / name
        for parent in reversed(path.relative_to(folder).parents[:-1]):
            (folder / parent).mkdir(exist_ok=True)
            (folder / parent).chmod(0o755)
        path.write_bytes(_content(name, arch))


def wrong_files(hashes: Mapping[str, str], arch: str) -> list[str]:
    """What of a package's files is not as nasc writes it; one phrase each.

    Args:
        hashes: sha256 of the package's files, by name, as they are.
        arch: Of the processor that the library is for.
    """
    found = []
    for name in FILES:
        if name not in hashes:
            found.append(f"{name} is missing")
        elif name in CALLERS:
            if hashes[name] != hashlib.sha256(_caller(name)).hexdigest():
                found.append(f"{name} is not as nasc writes it")
        elif hashes[name] not in _known(name, arch):
            found.append(f"{name} is not that of {' '.join(_source(name))} for {arch}")
    return found


def _known(name: str, arch: str) -> tuple[str, ...]:
    return _HASHES.get(name) or _HASHES.get(f"{name} {arch}", ())


def _source(name: str) -> tuple[str, str]:
    """Distribution and release of a file."""
    distribution, _ = _SOURCES[name]
    return distribution, _RELEASES[distribution]


def _caller(name: str) -> bytes:
    return (_CALLERS / name).read_bytes()


def _content(name: str, arch: str) -> bytes:
    """A file as it is to lie in a package.

    Raises:
        PackageError: If it cannot be had here.
    """
    if name in CALLERS:
        return _caller(name)
    distribution, place = _SOURCES[name]
    both = " ".join(f"'{name}=={release}'" for name, release in _RELEASES.items())
    advice = f"Install both: python -m pip install --force-reinstall {both}"
    try:
        found = importlib.metadata.distribution(distribution)
        info = f"{found.metadata['Name'].replace('-', '_')}-{found.version}.dist-info"
        content = read_bytes(Path(str(found.locate_file(place.format(info=info)))), MAX_BYTES)
    except importlib.metadata.PackageNotFoundError as error:
        raise PackageError(f"{distribution} is not installed. {advice}") from error
    except (OSError, FileRefused) as error:
        raise PackageError(f"{name} of {distribution} cannot be read: {error}. {advice}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest in _known(name, arch):
        return content
    others = [other for other in ARCHITECTURES if digest in _known(name, other)]
    if others:
        raise PackageError(
            f"the TVM that is installed here is for {others[0]}, the package needs its runtime for "
            f"{arch}. Run nasc on such a machine, or take another runtime: --runtime onnxruntime"
        )
    raise PackageError(f"{name} is not that of {' '.join(_source(name))}. {advice}")
