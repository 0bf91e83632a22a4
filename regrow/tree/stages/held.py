"""What a stage changes on conversations that it does not learn from: before it, and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from regrow.files import read_json, write_json
from regrow.progress import Progress
from regrow.records import Conversation
from regrow.tree.settings import SupervisedSettings


@dataclass
class Held:
    """The conversations kept aside in one tuning, and how they are answered.

    What was measured before is kept in `folder`, so that a run that goes on measures it once.
    """

    settings: SupervisedSettings
    tokenizer: Any
    aside: Sequence[Conversation]
    folder: Path
    progress: Progress

    @cached_property
    def _sets(self) -> dict[str, list[Conversation]]:
        from regrow.align.heldout import sample

        return sample(self.aside, self.settings.held_most)

    def _measure(self, model: Any, precision: str) -> dict[str, Any]:
        """Figures of a copy of the model on the device that it trains on."""
        import copy

        from regrow.align.heldout import measure
        from regrow.train.device import pick
        from regrow.train.precision import choose

        own = copy.deepcopy(model).to(pick(), choose(precision).dtype).eval()
        window = min(self.settings.row_tokens or model.config.context, model.config.context)
        length = min(self.settings.held_length, window // 2)
        return measure(own, self.tokenizer, self._sets, length, window, self.progress)

    @property
    def _path(self) -> Path:
        return self.folder / "held_before.json"

    def before(self, model: Any) -> None:
        """Measure the model as it comes."""
        from regrow.train.device import pick
        from regrow.train.precision import choose

        if self.aside and not self._path.is_file():
            precision = choose(self.settings.precision, pick()).name
            sets = self._measure(model, precision)
            write_json(self._path, {"precision": precision, "sets": sets})

    def compared(self, model: Any) -> dict[str, Any]:
        """What the edge record tells: figures by set, before and after, in one precision."""
        from regrow.align.heldout import compare

        if not self.aside:
            return {}
        was = read_json(self._path)
        return {"held": compare(was["sets"], self._measure(model, was["precision"]))}


def lines(record: Mapping[str, Any]) -> list[str]:
    """An edge record's held-out figures for the user, a line a set."""
    out = []
    for name, told in record.get("held", {}).items():
        parts = [f"loss {_change(told['loss'])} (n {told['n']})"]
        parts += [
            f"{word} {_change(told[form])} (n {told[form]['n']})"
            for form, word in (("ended", "stops by itself"), ("closed", "closes as asked"),
                               ("right", "closes right"))
            if form in told
        ]  # fmt: skip
        out.append(f"held out, {name}: " + ", ".join(parts))
    for stage in ("ppo", "grpo"):
        told = record.get(stage, {}).get("held_out")
        if told:
            out.append(f"held out, {stage.upper()}: {_gained(told['gold'])}")
        if told and told["gold"] != (drawn := told.get("sampled", told)["gold"]) and drawn["error"]:
            out.append(f"held out, {stage.upper()}, as sampled in training: {_gained(drawn)}")
    return out


def _gained(gold: Mapping[str, float]) -> str:
    """What RL did to the true score of answers. The guard may have kept the weights that it met."""
    if gold["gain"] == gold["error"] == 0:
        return (
            f"score {gold['before']:.2f} as before; the guard may have kept the weights that it "
            "met, which happens where none did better on the prompts that it watches"
        )
    change = f"score {gold['before']:.2f} -> {gold['after']:.2f}"
    return f"{change} (error of the change {gold['error']:.2f}, n {gold['n']})"


def _change(told: Mapping[str, Any]) -> str:
    (was, _), (now, _), (_, error) = (told[key] for key in ("before", "after", "change"))
    return f"{was:.3f} -> {now:.3f}" + (f" (error of the change {error:.3f})" if error else "")
