"""A library archive for Android (AAR): a zip of classes, assets, a manifest and rules.

All of it is stored, not compressed, under one date: the same files are the same bytes, and what is
read of somebody else's archive is no larger than it.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

CLASSES = "classes.jar"
JAR_MANIFEST = "META-INF/MANIFEST.MF"

METADATA = "META-INF/com/android/build/gradle/aar-metadata.properties"
_METADATA_TEXT = """\
aarFormatVersion=1.0
aarMetadataVersion=1.0
minCompileSdk=24
minCompileSdkExtension=0
minAndroidGradlePluginVersion=1.0.0
"""

_MANIFEST_TEXT = """\
<?xml version="1.0" encoding="utf-8"?>
<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="%s">
    <uses-sdk android:minSdkVersion="24" />
</manifest>
"""

_DATE = (1980, 1, 1, 0, 0, 0)
_READABLE = 0o100644 << 16
MAX_CLASSES_BYTES = 8 << 20
"""Of all classes; those of a package take 0.1 MB."""


def archive(files: Mapping[str, bytes | Path]) -> bytes:
    """A zip of files, stored, by name in their order.

    Raises:
        OSError: If one cannot be read.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        for name, file in files.items():
            about = zipfile.ZipInfo(name, _DATE)
            about.create_system, about.external_attr = 3, _READABLE
            made.writestr(about, file if isinstance(file, bytes) else file.read_bytes())
    return content.getvalue()


def jar(classes: Path, made_by: str) -> bytes:
    """A jar of what was compiled into a folder.

    Args:
        classes: The folder.
        made_by: The compiler and its release, for the jar's own manifest.

    Raises:
        OSError: If a file cannot be read.
    """
    paths = sorted(path for path in classes.rglob("*") if path.is_file())
    manifest = f"Manifest-Version: 1.0\r\nCreated-By: {made_by}\r\n\r\n".encode()
    return archive(
        {JAR_MANIFEST: manifest, **{path.relative_to(classes).as_posix(): path for path in paths}}
    )


def library_files(
    namespace: str, classes: bytes, rules: str, assets: Mapping[str, bytes | Path]
) -> dict[str, bytes | Path]:
    """The files of an archive, by name in their order.

    Args:
        namespace: Of the library, as an app's build knows it.
        classes: The jar of its classes.
        rules: For R8, of apps that use it.
        assets: By name.
    """
    return {
        "AndroidManifest.xml": (_MANIFEST_TEXT % namespace).encode(),
        CLASSES: classes,
        "R.txt": b"",
        "proguard.txt": rules.encode(),
        **{f"assets/{name}": file for name, file in assets.items()},
        METADATA: _METADATA_TEXT.encode(),
    }


def read_archive(content: bytes) -> dict[str, bytes]:
    """The files of an archive of `archive`, by name in their order.

    They take no more memory than it does.

    Raises:
        ValueError: If it is none: damaged, compressed, with a name twice, or with entries that
            share bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as found:
            names = found.namelist()
            if len({*names}) != len(names):
                raise ValueError("a file is in it twice")
            if any(one.compress_type != zipfile.ZIP_STORED for one in found.infolist()):
                raise ValueError("a file in it is compressed")
            if sum(one.file_size for one in found.infolist()) > len(content):
                raise ValueError("its files share bytes")
            return {name: found.read(name) for name in names}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, struct.error) as error:
        raise ValueError(f"it is no archive: {error}") from error


def wrong_classes(content: bytes, folder: str, java: int) -> list[str]:
    """What of a jar is no class of a library; one phrase each.

    Args:
        content: The jar.
        folder: Of all classes.
        java: Release of Java that runs them.

    Raises:
        ValueError: See `read_archive`.
    """
    if len(content) > MAX_CLASSES_BYTES:
        return [f"{CLASSES} holds {len(content):,} bytes"]
    found, files = [], read_archive(content)
    if archive(files) != content:
        found.append(f"bytes in {CLASSES} that are of no file, or laid out otherwise")
    for name, file in files.items():
        if name == JAR_MANIFEST:
            continue
        version = struct.unpack_from(">IHH", file) if len(file) >= 8 else (0, 0, 0)
        if not name.startswith(f"{folder}/") or not name.endswith(".class"):
            found.append(f"{name} in {CLASSES}")
        elif version != (0xCAFEBABE, 0, 44 + java):
            found.append(f"{name} in {CLASSES}, which is no class for Java {java}")
    return found


def made_by(content: bytes) -> str:
    """What a jar says that it was made by.

    Raises:
        ValueError: If it says nothing.
    """
    text = read_archive(content).get(JAR_MANIFEST, b"").decode("ascii", "replace")
    for line in text.splitlines():
        key, _, value = line.partition(": ")
        if key == "Created-By":
            return value
    raise ValueError(f"{CLASSES} does not say by what it was made")
