"""The example of docs/training.md works as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from regrow.align.fit import fit_text
from regrow.corpus.shards import Shards
from regrow.errors import RegrowError
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import load_model

PAGE = Path(__file__).parent.parent / "docs" / "training.md"


def test_the_python_example_trains_saves_and_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("texts").mkdir()
    trades = ["baker", "smith", "miller", "weaver", "fisher", "potter", "tanner", "cooper"]
    for number, trade in enumerate(trades * 5):
        lines = [
            f"The {trade} of house {number * 31 + n} met the {trades[(n * 3 + number) % 8]} at "
            f"{n % 12 + 1} o'clock and paid {number * n + 2} coins for the work of the week."
            for n in range(12)
        ]
        Path("texts", f"{number}.txt").write_text("\n".join(lines))
    exec(compile(code, str(PAGE), "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()
    assert load_model(Path("my-model")).config.width == 64
    rows = Path("run", "metrics.jsonl").read_text().splitlines()
    assert len(rows) == -(-(10_000 // 64) // 16)
    small = Decoder(ModelConfig(16, 8, 1, 1, 1, 8, 8))
    with pytest.raises(RegrowError, match="the model's vocabulary 16; give it at least as many"):
        fit_text(small, Path("corpus"), Path("other"), tokens=100)
    assert Shards.open(Path("corpus")).vocabulary > 16
