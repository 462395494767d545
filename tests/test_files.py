from pathlib import Path

import pytest

from atman_bench.core.errors import StoreError
from atman_bench.core.files import write_atomically


def test_a_text_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "table.md"
    for text in ("old ≈\n", "new ≈\n"):
        write_atomically(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_half_way_keeps_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "section.json"
    write_atomically(path, "old")

    def full_disk(self: Path, text: str, encoding: str, errors: str) -> None:
        self.write_bytes(text[:1].encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(StoreError, match=r"section\.json cannot be written: No space left"):
        write_atomically(path, "new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
