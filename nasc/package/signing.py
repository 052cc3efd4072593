"""Signatures of packages, by OpenSSF's Model Signing: hashes tell what a package is, these whose.

A signature is over the hashes of all files of a package, those of the manifest and SHA256SUMS
included, by an elliptic key, without a network. It lies in the package as `SIGNATURE`, in the form
of a Sigstore bundle, which other programs of that standard read too.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from device_profiles.reading import FileRefused, read_bytes, read_json
from nasc.errors import UsageError
from nasc.package.hashes import BESIDE, SIGNATURE, package_names
from nasc.package.verify_report import Outcome, reason_of

T = TypeVar("T")

MAX_KEY_BYTES = 1 << 16
MAX_SIGNATURE_BYTES = 4 << 20
"""One of a package of 20 files holds 5,000 bytes."""

MAKE_KEYS = (
    "Make a pair of keys: openssl ecparam -name prime256v1 -genkey -noout -out key.pem; "
    "openssl ec -in key.pem -pubout -out pub.pem"
)


def check_private_key(key: Path) -> None:
    """Raise unless packages can be signed here with a key.

    Raises:
        UsageError: If Model Signing is not installed, or the file is no elliptic private key in
            PEM without a password.
    """
    _check_installed(f"--sign {key}")
    _with_key(f"--sign {key}", key, lambda: _signer(key))


def check_public_key(key: Path) -> None:
    """Raise unless signatures can be checked here with a key.

    Raises:
        UsageError: If Model Signing is not installed, or the file is no elliptic public key in
            PEM.
    """
    _check_installed(f"--key {key}")
    _with_key(f"--key {key}", key, lambda: _verifier(key))


def sign_package(folder: Path, key: Path) -> None:
    """Sign a finished package; a signature that is there is replaced.

    Args:
        folder: The package.
        key: Elliptic private key in PEM.

    Raises:
        UsageError: See `check_private_key`.
        OSError: If the signature cannot be written.
    """
    check_private_key(key)
    _signer(key).set_hashing_config(_hashing()).sign(folder, folder / SIGNATURE)


def signature_outcome(folder: Path, key: Path) -> Outcome:
    """Whether a package is signed with the private key that belongs to a public one, as it is.

    Args:
        folder: The package.
        key: Elliptic public key in PEM, of which `check_public_key` found nothing.

    Raises:
        FileRefused, OSError: If the signature or a file cannot be read.
    """
    path = folder / SIGNATURE
    if not path.is_file():
        return False, f"there is none ({SIGNATURE})"
    read_bytes(path, MAX_SIGNATURE_BYTES)
    config = _verifier(key).set_hashing_config(_hashing().set_allow_symlinks(True))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # where the library warns
            config.verify(folder, path)
    except OSError:
        raise
    except Exception as error:  # the library and those below it raise several kinds
        return False, f"not by this key, or not of these files: {reason_of(error)}"
    bare = sorted(package_names(folder) - _signed(path) - {SIGNATURE})
    if bare:
        return False, f"is not over {', '.join(bare)[:200]}"
    return True, f"by this key, over {len(_signed(path))} files"


def _signed(path: Path) -> set[str]:
    """Names of the files that a signature, which was checked, is over."""
    payload = read_json(path, MAX_SIGNATURE_BYTES)["dsseEnvelope"]["payload"]
    statement = json.loads(base64.b64decode(payload))
    return {one["name"] for one in statement["predicate"]["resources"]}


def _check_installed(option: str) -> None:
    if any(importlib.util.find_spec(name) is None for name in ("model_signing", "OpenSSL")):
        raise UsageError(
            f"{option} needs OpenSSF's Model Signing: pip install -c constraints.txt '.[signing]'"
        )


def _with_key(option: str, key: Path, use: Callable[[], T]) -> T:
    """Do something with a key.

    Raises:
        UsageError: If that fails.
    """
    try:
        read_bytes(key, MAX_KEY_BYTES)
        return use()
    except (OSError, FileRefused) as error:
        raise UsageError(f"{option}: the key cannot be read: {error}. {MAKE_KEYS}") from error
    except Exception as error:  # of several kinds: no PEM, another kind of key, a password
        raise UsageError(
            f"{option}: no elliptic key in PEM (P-256, P-384 or P-521; a private one without a "
            f"password): {reason_of(error)}. {MAKE_KEYS}"
        ) from error


def _signer(key: Path) -> Any:
    import model_signing.signing

    return model_signing.signing.Config().use_elliptic_key_signer(private_key=key)


def _verifier(key: Path) -> Any:
    import model_signing.verifying

    return model_signing.verifying.Config().use_elliptic_key_verifier(public_key=key)


def _hashing() -> Any:
    """What is signed: a SHA-256 of each file, but of those that are no part of a package."""
    import model_signing.hashing

    return model_signing.hashing.Config().set_ignored_paths(paths=[*BESIDE, SIGNATURE])
