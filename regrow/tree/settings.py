"""What each stage of a recipe may be told: one typed model a stage, with defaults that work."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from regrow.errors import RegrowError
from regrow.strict import Strict
from regrow.train.schedule import Ramp

_UNITS = {"k": 1_000, "m": 1_000_000, "b": 1_000_000_000}


def _count(value: Any) -> Any:
    """Read `7M`, `600k` and `1.5e6` as whole numbers; leave the rest to pydantic."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower().replace("_", "").replace(",", "")
    unit = _UNITS.get(text[-1:], 1)
    try:  # decimal: 8.2 * 1_000_000 is no whole number in floating point
        number = Decimal(text.removesuffix(text[-1]) if unit > 1 else text) * unit
        return int(number) if number == int(number) else value
    except (InvalidOperation, ValueError, OverflowError):
        return value


#: A whole number that may be written with a unit: 7M, 600k.
Count = Annotated[int, BeforeValidator(_count)]
Share = Annotated[float, Field(ge=0, le=1)]
#: A part of a run: up to 1 a share of it, above 1 a number of tokens (12B).
Span = Annotated[float, BeforeValidator(_count), Field(ge=0)]


Optimizer = Literal["muon", "adamw", "adafactor"]
#: The schedules that a word is for.
_OF_SCHEDULE = {
    "decay": ("wsd",), "cooldown": ("wsd",), "floor_at": ("linear", "cosine"),
    "hold": ("inverse-sqrt",),
}  # fmt: skip


class Intervention(Strict):
    """What is done by hand when a run first comes to step `at` (regrow.train.script)."""

    at: int = Field(ge=0)
    rewind: int | None = Field(default=None, ge=0, description="go back to that step")
    rate: float | None = Field(default=None, gt=0, description="factor on the planned rate")
    clip: float | None = Field(default=None, gt=0, description="largest gradient norm")
    skip: int = Field(default=0, ge=0, description="batches to leave out")
    reset: bool = Field(default=False, description="start the optimizer's moments anew")


class GuardSpec(Strict):
    """What is done about loss spikes (regrow.train.guard): rewind and skip, nothing, or a script.

    `before` and `after` are in steps; what is left out is in proportion to the run.
    """

    mode: Literal["guard", "ignore", "script"] = "guard"
    script: tuple[Intervention, ...] = ()
    before: int | None = Field(default=None, gt=0)
    after: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _script_has_its_mode(self) -> Self:
        if (self.mode == "script") != bool(self.script):
            raise ValueError("guard mode script and a script of interventions go together")
        return self


class Training(Strict):
    """How weights are moved, the same words in every stage that trains.

    Defaults are those that worked at this size: Muon on block matrices, Adam on the rest.
    """

    rows: int = Field(default=16, gt=0, description="sequences a step")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    optimizer: Optimizer = "muon"
    rate: float = Field(default=0.02, gt=0, description="learning rate of the block matrices")
    adam_rate: float = Field(
        default=0.004, gt=0, description="learning rate of embeddings and gains"
    )
    betas: tuple[Share, Share] = Field(
        default=(0.9, 0.98), description="Adam's; Adafactor takes the first"
    )
    weight_decay: float = Field(default=0.05, ge=0, description="under adafactor 1 is PaLM's")
    decays: Literal["usual", "blocks", "matrices", "all"] = Field(
        default="usual", description="what weight decay touches"
    )
    average: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the weights' moving average; 0 for none"
    )
    warmup: int = Field(default=60, ge=0, description="steps of warm-up")
    warmup_tokens: Count = Field(default=0, ge=0, description="tokens of warm-up, instead of steps")
    schedule: Literal["wsd", "linear", "cosine", "inverse-sqrt", "flat"] = "wsd"
    decay: Share = Field(
        default=0.6, description="wsd: share of the run over which the rate falls to its floor"
    )
    cooldown: Literal["linear", "1-sqrt"] = Field(default="linear", description="wsd: how it falls")
    floor: Share = Field(default=0.0, description="share of the peak rate that is left at the end")
    floor_at: Span = Field(
        default=1.0, gt=0, description="linear, cosine: part of the run after which the floor holds"
    )
    hold: Count = Field(
        default=10_000, gt=0, description="inverse-sqrt: steps at the peak before it falls"
    )
    ramp: Span = Field(default=0.0, description="part of the run over which the batch grows")
    ramp_from: int | None = Field(
        default=None, gt=0, description="sequences in the first batch; a quarter of rows unless set"
    )
    ramp_by: int = Field(default=0, ge=0, description="sequences it grows by; 0 for smoothly")
    ramp_at: dict[Count, int] = Field(
        default={}, description="step: sequences from there on, instead of a span"
    )
    clip: float = Field(default=1.0, gt=0, description="largest gradient norm")
    z_loss: float = Field(default=0.0, ge=0)
    guard: GuardSpec = GuardSpec()

    @model_validator(mode="after")
    def _words_that_belong_together(self) -> Training:
        """A word that another word makes void is an error, unless it has its default."""
        for word, schedules in _OF_SCHEDULE.items():
            changed = getattr(self, word) != type(self).model_fields[word].default
            if changed and self.schedule not in schedules:
                raise ValueError(
                    f"{word} belongs to schedule {' or '.join(schedules)}, not to {self.schedule}"
                )
        if self.floor and self.schedule == "flat":
            raise ValueError("schedule flat has no floor; use wsd, linear, cosine or inverse-sqrt")
        if (self.ramp_from or self.ramp_by) and not (self.ramp or self.ramp_at):
            raise ValueError("ramp_from and ramp_by need ramp or ramp_at, which say how it grows")
        try:
            self.batch_ramp(over=int(self.ramp > 0)).check(self.rows)
        except RegrowError as error:
            raise ValueError(str(error)) from error
        return self

    def batch_ramp(self, over: int) -> Ramp:
        """How the batch grows, where `ramp` comes to so many rows."""
        if not (self.ramp or self.ramp_at):
            return Ramp()
        start = self.ramp_from or max(1, self.rows // 4)
        return Ramp(start, over, self.ramp_by, tuple(sorted(self.ramp_at.items())))


class Finish(Strict):
    """Demonstrations mixed into the last part of a pretraining run."""

    portion: Share = Field(default=0.2, description="the last part of the tokens")
    share: Share = Field(
        default=0.3, description="share of rows in that part that are demonstrations"
    )


#: Shares of a stage at which its model is kept, to be measured there (`abilities.on_the_way`).
MeasureAt = Annotated[
    tuple[Annotated[float, Field(gt=0, lt=1)], ...],
    Field(description="shares of the stage at which its model is kept and measured"),
]


#: Whether attention crosses from one document of a row into the next (GPT-3) or not (Llama 3).
Packing = Literal["across", "within"]


class PretrainSettings(Training):
    """Next-token prediction on a mixture, from nothing or from the parent."""

    mixture: str
    packing: Packing = "across"
    finish: Finish | None = None
    measure_at: MeasureAt = ()
    context: Count | None = Field(
        default=None, gt=1, description="go on at another context length than the parent's"
    )


class LoraSpec(Strict):
    """Adapters of low rank in place of moving all weights (regrow.align.lora)."""

    rank: int = Field(default=8, gt=0)
    alpha: float = Field(default=16.0, gt=0, description="they count alpha / rank times")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[Literal["q", "k", "v", "out", "gate", "up", "down"], ...] = Field(
        default=("q", "v"), min_length=1, description="linear maps; q and v as in the paper"
    )


class SupervisedSettings(Training):
    """Tuning on demonstrations, with the loss on answers only.

    `replay` is InstructGPT's pretraining mix: text rows stand in the same batches, and the loss is
    the mean over all targets of a batch. A text row has a target at every token, a row of
    conversations only in answers, so the text's share of the gradient is larger than its share of
    rows; `read.sources.*.tokens` in the edge record says how large it was.
    """

    rows: int = Field(default=16, gt=0)
    rate: float = Field(default=6e-3, gt=0)
    adam_rate: float = Field(default=8e-4, gt=0)
    warmup: int = Field(default=20, ge=0)
    dialogues: Share = Field(default=0.0, description="share of rows that are dialogues")
    replay: Share = Field(
        default=0.0, description="share of rows from the pretraining mixture `mixture`"
    )
    mixture: str | None = None
    packing: Packing = "within"
    row_tokens: Count | None = Field(
        default=None, gt=0, description="tokens a row; the model's context where that is less"
    )
    families: tuple[str, ...] = Field(
        default=(), description="learn from demonstrations of these families only"
    )
    task_types: Count | None = Field(
        default=None, gt=0, description="learn from so many task types only, drawn by seed"
    )
    examples: Count | None = Field(
        default=None, gt=0, description="learn from so many demonstrations only, drawn by seed"
    )
    worked: bool = Field(
        default=True, description="worked answers keep their steps; else the last sentence is left"
    )
    held: Share = Field(
        default=0.0,
        lt=1,
        description="share of the conversations kept aside, to measure before and after",
    )
    held_most: int = Field(
        default=64, gt=0, description="conversations of a set that are measured at most"
    )
    held_length: int = Field(
        default=128, gt=0, description="longest answer that is drawn from them, in tokens"
    )
    measure_at: MeasureAt = ()
    lora: LoraSpec | None = None

    @model_validator(mode="after")
    def _rows_have_a_source(self) -> Self:
        if self.dialogues + self.replay > 1:
            raise ValueError("dialogues and replay are shares of the rows; together at most 1")
        if self.replay and self.mixture is None:
            raise ValueError("replay needs a mixture to take the text from")
        return self

    @model_validator(mode="after")
    def _adapters_are_moved_by_adam(self) -> Self:
        if self.lora and self.measure_at:
            raise ValueError("measure_at keeps whole models; leave lora or measure_at out")
        if self.lora and self.optimizer == "muon":
            raise ValueError("lora needs optimizer: adamw, and a rate such as 0.0002")
        return self


class RewardSettings(Training):
    """A reward model fitted to rankings (Bradley-Terry).

    One epoch, with up to nine answers a prompt, is what InstructGPT takes (sec. 3.5).
    """

    rows: int = Field(default=16, gt=0, description="prompts a step, each with all its answers")
    optimizer: Optimizer = "adamw"
    rate: float = Field(default=5e-4, gt=0)
    warmup: int = Field(default=10, ge=0)
    prompts: Count = Field(default=2048, gt=0)
    samples: int = Field(default=4, gt=1, description="answers ranked a prompt")
    margin: float = Field(default=1.0, ge=0, description="ratings no further apart are ties")
    epochs: int = Field(default=1, gt=0)
    likelihood: bool = Field(
        default=True, description="how sure the parent is of an answer is part of its reward"
    )
    balance: bool = Field(
        default=True, description="kinds of prompt whose answers often tie weigh more"
    )
    fitted: Literal["all", "head"] = Field(
        default="all",
        description="all weights (InstructGPT), or the head alone on the parent's hidden states: "
        "in seconds, and with less to remember whom it was taught on",
    )


class FeedmeSettings(SupervisedSettings):
    """Tuning on the model's own best-rated samples; with `demonstrations`, on those as well."""

    demonstrations: bool = False
    prompts: Count = Field(default=1024, gt=0)
    samples: int = Field(default=4, gt=0, description="answers sampled a prompt")
    temperature: float = Field(default=0.8, gt=0)
    keep: float = Field(
        default=6.0, ge=1, le=7, description="lowest rating, of 7, that is learnt from"
    )
    length: int = Field(default=96, gt=0, description="longest answer in tokens")
    select: Literal["raters", "reward"] = Field(
        default="raters", description="who rates: the raters, or a reward model that they taught"
    )
    reward: RewardSettings = RewardSettings()


class ReinforcementSettings(Strict):
    """What all policies have that learn from their own answers.

    A node's `tokens` bound what the answers may take: steps = tokens / (rows * samples * length).
    """

    rows: int = Field(default=64, gt=0, description="prompts answered a step")
    samples: int = Field(default=2, gt=0, description="answers a prompt")
    length: int = Field(default=64, gt=0, description="longest answer in tokens")
    temperature: float = Field(default=1.0, gt=0)
    trained: Literal["all", "gains"] = Field(
        default="all",
        description="all weights, or the gains of the norms alone: far fewer directions for the "
        "noise of few answers to drive a small model in; wants some ten times the rate",
    )
    rate: float = Field(default=1e-4, gt=0, description="learning rate of the policy (Adam)")
    warmup: int = Field(default=5, ge=0, description="steps of warm-up")
    kl: float = Field(default=0.05, ge=0, description="weight of the KL term, per token")
    clip_ratio: float = Field(default=0.2, gt=0)
    minibatches: int = Field(default=4, gt=0, description="updates in a pass")
    epochs: int = Field(default=1, gt=0, description="passes over each batch of answers")
    average: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the weights' moving average; 0 for none"
    )
    held_out: int = Field(
        default=128,
        ge=0,
        description="prompts, at most, that are not learnt from and tell the gain",
    )
    pretraining_mix: float = Field(
        default=0.5, ge=0, description="weight of the pretraining loss (InstructGPT's gamma)"
    )
    mix_rows: int = Field(default=4, gt=0, description="pretraining rows a minibatch")
    mixture: str | None = None


class RlhfSettings(ReinforcementSettings):
    """Reward model on rankings, then PPO against it with a KL term and a pretraining mix.

    With `dialogue` the parent is first tuned on dialogues (`tuning_tokens`) and half of the prompts
    are dialogues.
    """

    held_out: int = Field(
        default=512,
        ge=0,
        description="prompts, at most, that are not learnt from and tell the gain",
    )
    watched: int = Field(
        default=512, gt=0, description="others, at most, by which the guard judges"
    )
    value_rate: float = Field(default=3e-4, gt=0, description="learning rate of the value model")
    kl_target: float | None = Field(
        default=None, gt=0, description="nats an answer that an adaptive weight steers to"
    )
    kl_horizon: float = Field(
        default=10_000, gt=0, description="answers in which an adaptive weight moves by its error"
    )
    gold_fall: float | None = Field(
        default=0.1,
        gt=0,
        description="points of the unseen raters' score that may be lost before the policy returns "
        "to its best and the KL weight doubles",
    )
    dialogue: bool = False
    tuning_tokens: Count = Field(default=0, ge=0)
    tuning: SupervisedSettings = SupervisedSettings()
    reward: RewardSettings = RewardSettings()

    @model_validator(mode="after")
    def _tuning_before_is_not_measured(self) -> Self:
        if self.tuning.measure_at:
            raise ValueError("measure_at is for nodes that are pretrained or tuned, not for RLHF")
        return self


class GrpoSettings(ReinforcementSettings):
    """GRPO on answers that can be verified: numbers, and programs that are run on tests."""

    rows: int = Field(default=16, gt=0, description="prompts answered a step")
    samples: int = Field(default=8, gt=1, description="answers a prompt, held against each other")
    kl: float = Field(default=0.04, ge=0, description="weight of the KL term in the loss")
    pretraining_mix: float = Field(default=0.0, ge=0, description="weight of the pretraining loss")
    verify: tuple[Literal["number", "program"], ...] = ("number", "program")


class DpoSettings(Training):
    """DPO on rated samples and comparisons; a node's `tokens` bound the rows that are read."""

    rows: int = Field(default=16, gt=0, description="prompts a step, each with all its answers")
    optimizer: Optimizer = "adamw"
    rate: float = Field(default=1e-4, gt=0)
    warmup: int = Field(default=10, ge=0)
    beta: float = Field(default=0.1, gt=0, description="weight of the distance from the parent")
    prompts: Count = Field(default=2048, gt=0)
    samples: int = Field(default=4, gt=1, description="answers ranked a prompt")
    length: int = Field(default=64, gt=0, description="longest answer in tokens")
    temperature: float = Field(default=1.0, gt=0)
    margin: float = Field(default=1.0, ge=0, description="ratings no further apart are ties")


class ImportSettings(Strict):
    """A node that comes as a Hugging Face folder."""

    folder: str
