"""A ready archive for Android apps (AAR) around onnxruntime-android, compiled here.

That is what Gradle makes of a module of `android_folder`: the same sources, the model and the
tokenizer's tables among its assets. Kotlin's compiler has to be at hand to make one.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from device_profiles.reading import FileTooLarge, read_bytes
from device_profiles.temporary import temporary_folder
from nasc.errors import PackageError
from nasc.package import kotlin_program
from nasc.package.aar import (
    CLASSES,
    MAX_CLASSES_BYTES,
    archive,
    jar,
    library_files,
    made_by,
    read_archive,
    wrong_classes,
)
from nasc.package.formats import android_folder, onnx_folder
from nasc.package.formats.android_folder import kotlin_contents, kotlin_text, kotlin_use
from nasc.package.formats.app_contents import check_vectors, write_tables, write_texts
from nasc.package.formats.base import as_it_is, no_refusal, no_session, no_text
from nasc.package.kotlin_program import OLDEST_JAVA
from nasc.package.manifest import Manifest
from nasc.package.tokenizer_binary import FILE as TABLES
from nasc.package.tokenizer_golden import FILE as TOKENIZER_GOLDEN

NAME = "ONNX for Android, as an archive"
LOWERED_FOR = OPENED_BY = onnx_folder.OPENED_BY
MODEL = onnx_folder.MODEL
COMPANIONS = ()

AAR = "nasc-encoder.aar"
MORE_FILES = (AAR, TABLES, TOKENIZER_GOLDEN)
OPTIONAL_FILES = ()
CODE = ""
PROGRAMS = "Kotlin"
VECTORS_ALONE = True
NEEDS = "Gradle"

NAMESPACE = "nasc.encoder"
"""Of the library in an app's build, and the package of all its classes."""

SIGNATURES = Path(__file__).resolve().parent.parent / "android_signatures"
"""Java: what the sources call of Android and of onnxruntime."""

ZIP_BYTES = 1 << 14
"""That the records of a zip of seven files take at most."""

PRECISIONS = onnx_folder.PRECISIONS
TOLERANCE = onnx_folder.TOLERANCE
IMPORT = RUN = ""
NOT_PROMISED = android_folder.NOT_PROMISED
"""See `PackageFormat`, and `android_folder`, whose model and runtime these are."""

load_lines = precision_note = other_libraries = other_languages = no_text
write_model = as_it_is
open_session = no_session
refusal = no_refusal
inspect = onnx_folder.inspect
"""See `PackageFormat`: the model is that of an ONNX folder."""


def own_usage(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    text = kotlin_text(manifest.prompts.before + "A man is playing a guitar.")
    use = f"val vector = encoder.embed({text})\n"
    if manifest.query_only:
        use = kotlin_use(manifest)
    return f"""\
An archive for an app that Gradle builds: copy `{AAR}` into the app's `libs`, and write into its
`build.gradle.kts`

```kotlin
android {{ androidResources {{ noCompress += "onnx" }} }}
dependencies {{
    implementation(files("libs/{AAR}"))
    implementation("com.microsoft.onnxruntime:onnxruntime-android:{android_folder.ONNXRUNTIME_ANDROID}")
}}
```

```kotlin
import nasc.encoder.NascEncoder

val encoder = NascEncoder.create(context)
{use}encoder.close()
```

Every call may come from any thread, and computes on that: call none of them on the thread that
draws. Texts are cut to {manifest.max_length} tokens. Without `noCompress` the model is copied once
out of the app's archive. The calls are those of the module for Gradle, whose sources these are.

`{AAR}` holds `{MODEL}` and `{TABLES}` of this folder as assets; its classes were compiled against
the signatures of Android and onnxruntime, not the libraries. Of them the tokenizer was run on a
computer's Java, on the texts of `{TOKENIZER_GOLDEN}`. **Not run: Gradle, R8, an app, a phone,
onnxruntime-android.**

**No latency is promised in an app.** What was measured is the package that this lies beside, on its
device; an app runs another build of onnxruntime. Figures of quality are of this model file.
"""


def check_ready(name: str) -> None:
    """See `PackageFormat`: Kotlin's compiler is needed.

    Raises:
        PackageError: See `check_compiler`.
    """
    check_compiler()


def check_compiler() -> None:
    """Raise where no archive can be compiled.

    Raises:
        PackageError: With what to install.
    """
    if why := kotlin_program.missing():
        raise PackageError(
            f"--format aar compiles Kotlin here, and {why}. --format android needs no compiler: "
            "Gradle has its own"
        )


def write_more(folder: Path, manifest: Manifest) -> None:
    """See `PackageFormat`: the archive, and the tokenizer's tables and golden texts.

    Raises:
        PackageError: Also if it does not compile.
    """
    check_vectors("aar", manifest.head)
    check_compiler()
    write_tables(folder, TABLES)
    with _compiled(folder, manifest) as found:
        classes = jar(found.classes, found.compiler)
    (folder / AAR).write_bytes(archive(_files(folder, classes)))


def wrong_more(folder: Path, manifest: Manifest) -> list[str]:
    """See `PackageFormat`; classes are told by their form, and compiled again by `run_more`."""
    try:
        content = _read(folder)
    except FileTooLarge as error:
        return [f"{AAR} {error.reason}"]
    found = read_archive(content)
    classes = found.get(CLASSES, b"")
    wanted = _files(folder, classes)
    if list(found) != list(wanted):
        return [f"{AAR} holds other files than nasc writes"]
    wrong = [
        f"{name} in {AAR} is not as nasc writes it"
        for name, file in wanted.items()
        if found[name] != (file if isinstance(file, bytes) else file.read_bytes())
    ]
    if not wrong and archive(wanted) != content:
        wrong = [f"{AAR} holds bytes that are of no file, or is laid out otherwise"]
    return wrong + wrong_classes(classes, NAMESPACE.replace(".", "/"), OLDEST_JAVA)


def run_more(folder: Path, manifest: Manifest) -> tuple[bool | None, str]:
    """See `PackageFormat`: the classes are those of the sources, and give the golden tokens."""
    if why := kotlin_program.missing():
        return None, why
    stated = read_archive(_read(folder))[CLASSES]
    with _compiled(folder, manifest) as found:
        if made_by(stated) != found.compiler:
            return None, (
                f"its classes were made by {made_by(stated)}, and would be others by "
                f"{found.compiler}, which is here"
            )
        if jar(found.classes, found.compiler) != stated:
            return False, f"its classes are others than {found.compiler} makes of the sources"
        return _tokens(found)


@dataclass(frozen=True, slots=True)
class _Compiled:
    """The sources, and what was compiled of them.

    Attributes:
        module: Folder of the sources, laid out as by `android_folder`.
        classes: Folder of the classes.
        compiler: Its name and release.
    """

    module: Path
    classes: Path
    compiler: str


@contextlib.contextmanager
def _compiled(folder: Path, manifest: Manifest) -> Iterator[_Compiled]:
    """The classes of a package, for as long as the block lasts.

    Raises:
        PackageError: If Java or the compiler is missing, or they do not compile.
    """
    java, compiler = kotlin_program.java(), kotlin_program.compiler_folder()
    if java is None or compiler is None:
        raise PackageError(kotlin_program.missing())
    with temporary_folder() as place:
        module, classes = place / "module", place / "classes"
        names = [name for name in android_folder.COPIED if name.endswith(".kt")]
        texts = {name: (android_folder.SOURCES / name).read_text("utf-8") for name in names}
        texts[android_folder.CONTENTS] = kotlin_contents(folder, manifest, MODEL, TABLES)
        write_texts(module, texts)
        for name, there in ((TABLES, android_folder.TABLES), (TOKENIZER_GOLDEN, TOKENIZER_GOLDEN)):
            (module / there).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, module / there)
        classes.mkdir()
        sources = sorted((module / "src" / "main").rglob("*.kt"))
        problem = kotlin_program.compile_kotlin(
            java, compiler, [*sources, SIGNATURES], classes, strict=False
        )
        if problem:
            raise PackageError(f"the Kotlin of {AAR} does not compile: {problem[:300]}")
        shutil.rmtree(classes / "META-INF")  # of top-level names, which are all internal
        yield _Compiled(module, classes, kotlin_program.release(compiler))


def _tokens(found: _Compiled) -> tuple[bool | None, str]:
    """What the classes make of the golden texts."""
    java, compiler = kotlin_program.java(), kotlin_program.compiler_folder()
    assert java is not None
    assert compiler is not None
    tests = [found.module / name for name in android_folder.READERS]
    with temporary_folder() as place:
        problem = kotlin_program.compile_kotlin(
            java,
            compiler,
            [*tests, kotlin_program.CHECK],
            place,
            strict=False,
            friend=found.classes,
        )
        if problem:
            return False, f"it does not compile: {problem[:300]}"
        shutil.copytree(found.classes, place, dirs_exist_ok=True)
        held, what = kotlin_program.check_tokens(java, compiler, place, found.module)
        return held, f"{AAR} has the classes that {found.compiler} makes; {what}"


def _files(folder: Path, classes: bytes) -> dict[str, bytes | Path]:
    """Of the archive of a package whose model and tables are written."""
    rules = (android_folder.SOURCES / "consumer-rules.pro").read_text(encoding="utf-8")
    assets = {f"nasc/{name}": folder / name for name in (MODEL, TABLES)}
    return library_files(NAMESPACE, classes, rules, assets)


def _read(folder: Path) -> bytes:
    """The archive of a package, which is no larger than its model, its tables and its classes.

    Raises:
        FileRefused: If it is larger, or no regular file.
        OSError: If it, or what goes into it, cannot be read.
    """
    parts = _files(folder, b"").values()
    sizes = (len(one) if isinstance(one, bytes) else one.stat().st_size for one in parts)
    return read_bytes(folder / AAR, sum(sizes) + MAX_CLASSES_BYTES + ZIP_BYTES)
