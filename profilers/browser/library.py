"""onnxruntime-web, as npm installs it; loads nothing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from device_profiles.reading import read_json
from profilers.errors import RuntimeMissing

VERSION = "1.30.0"
"""The release of onnxruntime-web that models are run by, and packages made for."""

VARIABLE = "NASC_ONNXRUNTIME_WEB"
"""Environment variable: the folder of onnxruntime-web as npm installs it. Nothing is searched, for
what is found is run."""

INSTALL = f"npm install onnxruntime-web@{VERSION}"

MODULE, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
"""What a page runs of it, in its folder `dist`: the module that `onnxruntime-web/wasm` is, and what
that fetches."""

SHA256 = {
    MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""Of these files in the release."""


def named_folder() -> Path | None:
    """The folder that `VARIABLE` names; None where it names none.

    Raises:
        RuntimeMissing: It holds another package, or another release of it.
    """
    given = os.environ.get(VARIABLE)
    if not given:
        return None
    try:
        found = read_json(Path(given) / "package.json", schema={"type": "object"})
    except (OSError, ValueError) as error:
        raise RuntimeMissing(
            f"{VARIABLE}={given}: there is no package of npm ({error}). Name the folder "
            f"node_modules/onnxruntime-web that {INSTALL} made"
        ) from error
    if (found.get("name"), found.get("version")) != ("onnxruntime-web", VERSION):
        raise RuntimeMissing(
            f"{VARIABLE}={given}: it is {found.get('name')} {found.get('version')}, not "
            f"onnxruntime-web {VERSION}: {INSTALL}"
        )
    return Path(given)


def checked_files(folder: Path) -> dict[str, Path]:
    """The files of onnxruntime-web that a page runs, by name.

    Args:
        folder: Of the package.

    Raises:
        RuntimeMissing: One cannot be read, or is not that of the release.
    """
    files = {name: folder / "dist" / name for name in SHA256}
    for name, path in files.items():
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise RuntimeMissing(
                f"cannot read '{path}' of onnxruntime-web: {error.strerror or error}. Install it "
                f"again: {INSTALL}"
            ) from error
        if found != SHA256[name]:
            raise RuntimeMissing(
                f"'{path}' is not that of onnxruntime-web {VERSION} (sha256 {found[:16]}, expected "
                f"{SHA256[name][:16]}). Install it again: {INSTALL}"
            )
    return files
