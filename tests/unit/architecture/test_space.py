"""`nasc.architecture.space`: counts, canonical form, text form, files, and what is refused."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasc.architecture.space import (
    BERT_BASE,
    MINILM_L6,
    OPERATIONS,
    PRECISIONS,
    PRESETS,
    Architecture,
    Block,
    Geometry,
    SearchSpace,
    derived_space,
    kernel_size,
    load_space,
    space_from_dict,
    space_to_dict,
    space_to_toml,
)
from nasc.errors import UsageError

MINILM, NASBERT = PRESETS["minilm-l6"], PRESETS["nas-bert"]
SMALL = SearchSpace(
    "small",
    Geometry(layers=4, hidden=32, head_size=8, intermediate=64, vocab_size=99, max_positions=40),
    n_blocks=2,
    slots=2,
    hidden_sizes=(8, 32),
    operations=("mha", "sep5"),
)


def spaces() -> st.SearchStrategy[SearchSpace]:
    return st.sampled_from([MINILM, NASBERT, SMALL])


@st.composite
def architectures(draw: st.DrawFn, space: SearchSpace) -> Architecture:
    free = st.builds(
        Block,
        st.sampled_from(space.hidden_sizes),
        st.lists(st.sampled_from(space.operations), min_size=1, max_size=space.slots).map(tuple),
    )
    block = st.one_of(free, st.just(space.kept_block)) if space.keep else free
    n = space.n_blocks
    blocks = draw(st.lists(block, min_size=n, max_size=n))
    return Architecture(tuple(blocks), draw(st.sampled_from(space.precisions)))


# Counts


def test_the_paper_s_space_has_its_counts() -> None:
    assert NASBERT.count_blocks() == 97_650
    assert NASBERT.restrict(precisions=("fp32",)).count() == 97_650**4
    assert NASBERT.layers_per_block == 3
    assert (2 * NASBERT.geometry.layers) // NASBERT.n_blocks == NASBERT.slots == 6


def test_the_default_space_has_its_counts() -> None:
    assert MINILM.count_blocks() == 3_122
    assert MINILM.count() == 6 * 3_122**3
    assert MINILM.kept_block == Block(384, ("mha", "ffn", "mha", "ffn"), kept=True)


@pytest.mark.parametrize("space", [SMALL, MINILM])
def test_blocks_lists_each_once_as_counted(space: SearchSpace) -> None:
    blocks = list(space.blocks())
    assert len(blocks) == len(set(blocks)) == space.count_blocks()
    assert blocks[0] == space.kept_block


def test_canonical_blocks_are_all_orders_with_identities() -> None:
    """What is left of every filling of the slots, identities included, is `blocks`."""
    space = dataclasses.replace(SMALL, keep=False, skip=False)
    names = (*space.operations, "identity")
    filled = {
        Block.of(hidden, slots)
        for hidden in space.hidden_sizes
        for slots in itertools.product(names, repeat=space.slots)
        if set(slots) != {"identity"}
    }
    assert filled == set(space.blocks())


# Canonical and text form


def test_identities_move_to_the_end_and_vanish() -> None:
    block = Block.of(128, ["identity", "mha", "identity", "ffn"])
    assert block == Block(128, ("mha", "ffn"))
    assert hash(block) == hash(Block(128, ("mha", "ffn")))


def test_a_kept_block_is_not_the_trained_one_of_the_same_operations() -> None:
    assert MINILM.kept_block != Block(384, MINILM.kept_block.operations)


def test_text_form() -> None:
    text = "384: M F | keep | 128: S3 S5 S7 @ int8"
    found = MINILM.parse(text)
    assert found.blocks[0] == Block(384, ("mha", "ffn"))
    assert found.blocks[1].kept
    assert found.blocks[2] == Block(128, ("sep3", "sep5", "sep7"))
    assert found.precision == "int8"
    assert str(found) == text
    assert MINILM.parse(" 384:m  f|KEEP |128 : s3 s5 s7@int8") == found
    assert MINILM.parse("keep|keep|keep") == MINILM.teacher


@settings(max_examples=60, deadline=None)
@given(st.data(), spaces())
def test_parse_reads_what_str_writes(data: st.DataObject, space: SearchSpace) -> None:
    architecture = data.draw(architectures(space))
    space.check(architecture)
    assert space.parse(str(architecture)) == architecture
    for precision in PRECISIONS:
        assert architecture.with_precision(precision).blocks == architecture.blocks


def test_the_teacher_is_all_blocks_kept() -> None:
    assert MINILM.teacher.is_teacher
    assert not MINILM.parse("keep | keep | 384: M F M F").is_teacher


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("384: M F | keep", "has 2 blocks, space 'minilm-l6' has 3"),
        ("keep | keep | 384: M X", "cannot read operation 'x' in 'M X'; known: M, F"),
        ("keep | keep | M F", "cannot read block 'M F'"),
        ("keep | keep | 384:", "cannot read block '384:'"),
        ("keep | keep | ", "cannot read block ''"),
        ("keep | keep | 0: M", "hidden size must be >= 1, got 0"),
        ("keep | keep | 256: M F M F M", "at most 4 of mha, ffn, sep3, sep5, sep7"),
        ("keep | keep | 320: M", "hidden size 320 is not in space 'minilm-l6': 128, 192, 256, 384"),
        (
            "keep | keep | keep @ int4",
            "unknown precision 'int4'; known: fp32, tf32, bf16, fp16, int8",
        ),
    ],
)
def test_bad_architectures_are_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        MINILM.parse(text)


def test_a_space_without_kept_blocks_or_int8_says_so() -> None:
    free = " | ".join(["512: M"] * 3)
    with pytest.raises(UsageError, match="'nas-bert' has no kept block"):
        NASBERT.parse(f"{free} | keep")
    with pytest.raises(UsageError, match="precision 'int8' is not in space 'nas-bert': fp32"):
        NASBERT.restrict(precisions=("fp32",)).parse(f"{free} | 512: M @ int8")


def test_blocks_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="a block of identities only"):
        Block.of(128, ["identity"])
    with pytest.raises(UsageError, match="unknown operation 'conv'; known: mha, ffn"):
        Block(128, ("conv",))
    with pytest.raises(UsageError, match="at least one block"):
        Architecture(())


def test_kernel_sizes() -> None:
    assert [kernel_size(o) for o in OPERATIONS] == [0, 0, 3, 5, 7]


# Spaces


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_blocks": 0}, "n_blocks must be a whole number from 1 to 1000, got 0"),
        ({"slots": 0}, "slots must be a whole number from 1 to 64, got 0"),
        ({"n_blocks": 4}, "6 teacher layers do not divide into 4 blocks"),
        ({"hidden_sizes": ()}, "ascending and distinct"),
        ({"hidden_sizes": (256, 128)}, "ascending and distinct"),
        ({"hidden_sizes": (128, 128)}, "ascending and distinct"),
        ({"hidden_sizes": (100, 384)}, "hidden size 100 is no multiple of the head size 32"),
        ({"hidden_sizes": (384, 512)}, "hidden size 512 is larger than the teacher's, 384"),
        ({"operations": ()}, "must be a choice, in this order, out of"),
        ({"operations": ("ffn", "mha")}, "must be a choice, in this order, out of"),
        ({"operations": ("mha", "conv")}, "must be a choice, in this order, out of"),
        ({"precisions": ("int4",)}, "must be a choice, in this order, out of"),
    ],
)
def test_spaces_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        dataclasses.replace(MINILM, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 0}, "layers must be a whole number from 1 to 1,000, got 0"),
        ({"hidden": 384.0}, "hidden must be a whole number from 1 to 100,000, got 384.0"),
        ({"head_size": 36}, "hidden size 384 is no multiple of the head size 36"),
        ({"intermediate": 1000}, "intermediate size 1000 is no multiple of the 12 heads"),
    ],
)
def test_geometries_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        dataclasses.replace(MINILM_L6, **changes)


def test_restrict_leaves_the_rest() -> None:
    small = MINILM.restrict(operations=("mha", "ffn"), precisions=("int8",))
    assert small.count_blocks() == 4 * (2 + 4 + 8 + 16) + 2
    assert small.precisions == ("int8",)
    assert small.hidden_sizes == MINILM.hidden_sizes
    assert MINILM.restrict() == MINILM


# Files


@pytest.mark.parametrize("space", [MINILM, NASBERT, SMALL])
def test_plain_values_and_back(space: SearchSpace) -> None:
    assert space_from_dict(space_to_dict(space)) == space


FILE = """
n_blocks = 3
slots = 4
hidden_sizes = [128, 256, 384]
operations = ["mha", "ffn"]
keep = false
precisions = ["int8"]
[geometry]
layers = 6
hidden = 384
head_size = 32
intermediate = 1536
vocab_size = 30522
max_positions = 512
"""


def test_a_space_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FILE, encoding="utf-8")
    assert load_space(str(path)) == SearchSpace(
        "mine", MINILM_L6, 3, 4, (128, 256, 384), ("mha", "ffn"), keep=False, precisions=("int8",)
    )
    path.write_text('name = "other"\n' + FILE, encoding="utf-8")
    assert load_space(str(path)).name == "other"


def test_a_space_as_a_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    odd = dataclasses.replace(BERT_BASE, layers=5)
    for space in (*PRESETS.values(), derived_space(odd)):
        path.write_text(space_to_toml(space), encoding="utf-8")
        assert load_space(str(path)) == space


def test_an_activation_is_written_where_it_is_not_the_usual_one(tmp_path: Path) -> None:
    """Files, keys and checkpoints of before are what they were."""
    assert "activation" not in space_to_toml(MINILM)
    assert list(space_to_dict(MINILM)["geometry"]) == list(MINILM_L6.to_dict())
    assert list(MINILM_L6.to_dict()) == [
        *("layers", "hidden", "head_size", "intermediate", "vocab_size", "max_positions")
    ]
    other = derived_space(dataclasses.replace(MINILM_L6, activation="relu"))
    path = tmp_path / "mine.toml"
    path.write_text(space_to_toml(other), encoding="utf-8")
    assert load_space(str(path)).geometry == other.geometry != MINILM_L6
    assert space_from_dict(space_to_dict(other)) == other
    assert "activation relu" in str(other.geometry)
    relative = derived_space(dataclasses.replace(MINILM_L6, buckets=32))
    path.write_text(space_to_toml(relative), encoding="utf-8")
    assert load_space(str(path)).geometry == relative.geometry
    assert "32 buckets of relative positions" in str(relative.geometry)
    with pytest.raises(UsageError, match="30 buckets of relative positions are no multiple of 4"):
        dataclasses.replace(MINILM_L6, buckets=30)
    typed = derived_space(dataclasses.replace(MINILM_L6, separator=102))
    path.write_text(space_to_toml(typed), encoding="utf-8")
    assert load_space(str(path)).geometry == typed.geometry
    assert "token types behind token 102" in str(typed.geometry)
    cut = typed.geometry.with_words([0, 101, 102, 500])
    assert (cut.vocab_size, cut.separator) == (4, 2)
    assert MINILM_L6.with_words([0, 1]).separator is None
    with pytest.raises(UsageError, match="the separator 102 must be kept"):
        typed.geometry.with_words([0, 101])
    with pytest.raises(UsageError, match="separator must be a whole number from 0 to"):
        dataclasses.replace(MINILM_L6, separator=-1)
    path.write_text(FILE + 'activation = "swish"\n', encoding="utf-8")
    with pytest.raises(UsageError, match="unknown activation 'swish'; known: gelu, gelu_tanh"):
        load_space(str(path))


@pytest.mark.parametrize(
    ("layers", "n_blocks", "slots"),
    [
        (1, 1, 2),
        (2, 2, 2),
        (3, 3, 2),
        (4, 2, 4),
        (5, 5, 2),
        (6, 3, 4),
        (8, 4, 4),
        (9, 3, 6),
        (10, 5, 4),
        (11, 11, 2),
        (12, 4, 6),
        (16, 4, 6),
        (22, 11, 4),
        (24, 6, 6),
    ],
)
def test_a_derived_space_has_blocks_of_a_few_layers(layers: int, n_blocks: int, slots: int) -> None:
    space = derived_space(dataclasses.replace(BERT_BASE, layers=layers))
    assert (space.n_blocks, space.slots) == (n_blocks, slots)
    assert len(space.kept_block.operations) == 2 * layers // n_blocks
    assert space.teacher.is_teacher
    space.check(space.teacher)


@pytest.mark.parametrize(
    ("hidden", "head_size", "sizes"),
    [
        (384, 32, (128, 192, 256, 384)),
        (768, 64, (256, 384, 512, 768)),
        (312, 26, (104, 156, 208, 312)),
        (128, 64, (64, 128)),
        (64, 64, (64,)),
        (1024, 64, (320, 512, 704, 1024)),
    ],
)
def test_a_derived_space_has_sizes_of_whole_heads(
    hidden: int, head_size: int, sizes: tuple[int, ...]
) -> None:
    geometry = dataclasses.replace(
        BERT_BASE, hidden=hidden, head_size=head_size, intermediate=4 * hidden
    )
    assert derived_space(geometry).hidden_sizes == sizes


def test_the_preset_of_six_layers_is_the_one_that_shipped_supernets_were_trained_for() -> None:
    assert SearchSpace("minilm-l6", MINILM_L6, 3, 4, (128, 192, 256, 384)) == MINILM


def test_presets_by_name() -> None:
    assert load_space("minilm-l6").geometry == MINILM_L6
    assert load_space("minilm-l12").geometry == dataclasses.replace(MINILM_L6, layers=12)
    assert load_space("bert-base").geometry == load_space("nas-bert").geometry == BERT_BASE


def test_an_unknown_space_names_the_presets() -> None:
    with pytest.raises(
        UsageError,
        match=r"'minilm'\. Did you mean 'minilm-l6'\? Presets: minilm-l6, minilm-l12, bert-base, ",
    ):
        load_space("minilm")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_blocks = = 3", "does not describe a search space"),
        (FILE.replace("[geometry]", "[geo]"), "unknown field 'geo'. Known: name"),
        (FILE.replace("slots = 4", "slotz = 4"), "unknown field 'slotz'. Did you mean 'slots'"),
        (FILE.replace("layers = 6", ""), "does not describe a search space: .*layers"),
        (FILE.replace("slots = 4", 'slots = "4"'), "slots = '4'; it must be a whole number"),
        (FILE.replace("slots = 4", "slots = 1.5"), "slots = 1.5; it must be a whole number"),
        (FILE.replace("slots = 4", "slots = 4.0"), "slots must be a whole number .* got 4.0"),
        (FILE.replace("slots = 4", "slots = 1_000_000"), "from 1 to 64, got 1000000"),
        (FILE.replace("slots = 4", "slots = 50"), "at most 500,000 can be searched"),
        (FILE.replace("keep = false", 'keep = "no"'), "keep = 'no'; it must be true or false"),
        (FILE.replace("[128, 256, 384]", '[128, "x"]'), "hidden_sizes.1 = 'x'"),
        (FILE.replace("[128, 256, 384]", "[true, 384]"), "hidden_sizes.0 = True"),
        (FILE.replace('["int8"]', "7"), "precisions = 7; it must be a list"),
        (FILE.replace("layers = 6", "layers = 6\nlayer = 6"), "unknown field 'geometry.layer'"),
        (FILE.replace("vocab_size = 30522", "vocab_size = 9e300"), "vocab_size"),
        (FILE.replace("[128, 256, 384]", "[128, 250, 384]"), "hidden size 250 is no multiple"),
        (FILE.replace("layers = 6", "layers = 5"), "5 teacher layers do not divide into 3"),
    ],
)
def test_a_bad_file_is_a_message(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        load_space(str(path))


def test_a_binary_file_is_a_message(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"mine\.toml' does not describe a search space"):
        load_space(str(path))


def test_precisions_that_a_file_names_are_those_alone(tmp_path: Path) -> None:
    """In what nasc wrote itself the two that there were stand for all."""
    path = tmp_path / "mine.toml"
    path.write_text(space_to_toml(MINILM.restrict(precisions=("fp32", "int8"))), encoding="utf-8")
    assert load_space(str(path)).precisions == ("fp32", "int8")
    path.write_text(space_to_toml(MINILM), encoding="utf-8")
    assert load_space(str(path)).precisions == PRECISIONS
    assert space_from_dict(space_to_dict(MINILM)) == MINILM
    assert space_to_dict(MINILM)["precisions"] == ("fp32", "int8")
