"""Texts of one's own that are ranked."""

from pathlib import Path

import pytest

from nasc.errors import TaskDataError
from nasc.tasks import ranking
from nasc.tasks.ranking import read_ranked_texts


def test_lines_and_rows_are_texts_each_once(tmp_path: Path) -> None:
    texts = [f"Text number {i}." for i in range(14)]
    plain = tmp_path / "texts.txt"
    plain.write_text("\n".join([*texts, "", texts[0]]), encoding="utf-8")
    assert read_ranked_texts(plain) == tuple(texts)
    table = tmp_path / "texts.csv"
    table.write_text("id,text\n" + "".join(f"{i},{t}\n" for i, t in enumerate(texts)), "utf-8")
    assert read_ranked_texts(table) == tuple(texts)


def test_what_cannot_be_ranked_is_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "texts.txt"
    with pytest.raises(TaskDataError, match=r"no texts to rank at .*Give a file"):
        read_ranked_texts(path)
    path.write_text("one\n" * 50, encoding="utf-8")
    with pytest.raises(TaskDataError, match="holds 1 different texts"):
        read_ranked_texts(path)
    path.write_bytes(b"\xff\xfe\x00\x01" * 9)
    with pytest.raises(TaskDataError, match=r"texts to rank: .*UTF-16"):
        read_ranked_texts(path)
    with pytest.raises(TaskDataError, match=r"folder|directory"):
        read_ranked_texts(tmp_path)
    monkeypatch.setattr(ranking, "MAX_TEXTS", 20)
    path.write_text("\n".join(map(str, range(30))), encoding="utf-8")
    with pytest.raises(TaskDataError, match=r"more than 20 texts. Take a part .* shuf -n 20"):
        read_ranked_texts(path)
