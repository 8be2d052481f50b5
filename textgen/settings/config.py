"""The settings: every option with its default and its help, declared once.

    RunConfig      what a run was made with; complete, written to config.json before the first step
        data: DataConfig          where the text is, what a document is, how it is tokenized
        model: ModelConfig        the network
        training: TrainingConfig  optimizer, batches, budget, device
        measured: dict            sizes and figures found while resolving (for reading, not for choosing)
    SampleConfig   how the next token is drawn
    DynamicConfig  dynamic evaluation: how the weights follow a text
    NoveltyConfig  the texts that are drawn to measure how much of them is copied

What the user gave, before anything is chosen, is UserOptions (given.py). Why the defaults are what they are:
training/planning/RECIPE.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from textgen.errors import ConfigError
from textgen.settings.cells import CELL_SPECS
from textgen.settings.option import (
    COUNT,
    FRACTION,
    FRACTION_BELOW_1,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    Range,
    check_options,
    flag,
    option,
)

CELLS = tuple(CELL_SPECS)
TOKENIZER_KINDS = ("char", "byte", "bpe", "word")
DOCUMENT_KINDS = ("file", "line", "block")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
DYNAMIC_METHODS = ("sgd", "rms")

# The headings of the command line.
TEXT, NETWORK, REGULARISATION, OPTIMISATION = "Text", "Network", "Regularisation", "Optimisation"
BUDGET, DEVICE = "Budget and validation", "Device"

# Layer norm adds this to the variance, so that equal numbers are not divided by zero: torch's default.
LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the text is, what a document is, and how text becomes tokens."""

    corpus: tuple[str, ...]
    tokenizer: str = option("char", "char, byte, bpe, word, or the path of a tokenizer.json.", group=TEXT)
    vocab_size: int | None = option(
        None,
        "Tokens to learn, for char, word and bpe.",
        range=COUNT,
        auto=True,
        group=TEXT,
    )
    min_frequency: int | None = option(
        None,
        "Learn only what occurs at least this often.",
        range=COUNT,
        auto=True,
        group=TEXT,
    )
    end_of_text: str | None = option(None, "End-of-text token of a tokenizer.json, if unusual.", group=TEXT)
    documents: str = option(
        "file",
        "What a document is; blank lines separate blocks.",
        choices=DOCUMENT_KINDS,
        group=TEXT,
    )
    field: str | None = option(None, "Field of .jsonl or .csv records that holds the text.", group=TEXT)
    encoding: str = option("utf-8", "Encoding of the text files.", group=TEXT)
    val_fraction: float = option(
        0.1, "Last fraction of each source, for validation.", range=FRACTION_BELOW_1, group=TEXT
    )
    val: str | None = option(None, "Validate on this file instead.", group=TEXT)
    test: str | None = option(None, "Keep this file for `textgen eval --part test`.", group=TEXT)

    def __post_init__(self) -> None:
        check_options(self)
        try:
            "".encode(self.encoding)
        except (LookupError, UnicodeError):
            raise ConfigError(f"encoding={self.encoding!r}: Python knows no such encoding") from None
        if not self.uses_tokenizer_file and self.end_of_text is not None:
            raise ConfigError(
                f"--end-of-text applies to the path of a tokenizer.json, not to --tokenizer {self.tokenizer}"
            )
        fixed = self.tokenizer == "byte" or self.uses_tokenizer_file
        for name in ("vocab_size", "min_frequency"):
            if fixed and getattr(self, name) is not None:
                raise ConfigError(
                    f"{flag(name)} does not apply to --tokenizer {self.tokenizer}, which learns nothing: "
                    "leave it out"
                )

    @property
    def uses_tokenizer_file(self) -> bool:
        """Whether `tokenizer` is the path of a file and not the name of a kind."""
        return self.tokenizer not in TOKENIZER_KINDS

    def for_text(self, path: str, *, field: str | None = None, encoding: str | None = None) -> DataConfig:
        """These settings for another text; field and encoding, if None, stay as they are."""
        return replace(
            self,
            corpus=(path,),
            field=self.field if field is None else field,
            encoding=self.encoding if encoding is None else encoding,
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network.

    model_vocab_size (V) is the number of tokens that training saw: the rows of embedding and head.
    """

    model_vocab_size: int = option(
        ..., "Size of the model vocabulary: the tokens that occur in the training text.", range=COUNT
    )
    cell: str = option(
        "lstm", "Recurrent cell: lstm, gru, or a plain tanh rnn.", choices=CELL_SPECS, group=NETWORK
    )
    hidden_size: int = option(256, "Units in each recurrent layer.", range=COUNT, auto=True, group=NETWORK)
    num_layers: int = option(1, "Stacked recurrent layers.", range=COUNT, auto=True, group=NETWORK)
    embedding_dim: int = option(64, "Size of the token embedding.", range=COUNT, auto=True, group=NETWORK)
    tie_weights: bool = option(
        False, "Share embedding and output weights; for subwords.", auto=True, group=NETWORK
    )
    residual: bool = option(False, "Add each layer's input to its output; for deep stacks.", group=NETWORK)
    layer_norm: bool = option(False, "Normalise each layer's output; for deep stacks.", group=NETWORK)
    dropout: float = option(
        0.0,
        "Raise it for small texts read many times.",
        range=FRACTION_BELOW_1,
        auto=True,
        group=REGULARISATION,
    )
    input_dropout: float = option(
        0.0,
        "On embeddings; for subwords of small texts.",
        range=FRACTION_BELOW_1,
        auto=True,
        group=REGULARISATION,
    )
    embedding_dropout: float = option(
        0.0,
        "Of whole tokens in a batch; for subwords.",
        range=FRACTION_BELOW_1,
        auto=True,
        group=REGULARISATION,
    )
    weight_drop: float = option(
        0.0,
        "On recurrent weights; helps small texts.",
        range=FRACTION_BELOW_1,
        auto=True,
        group=REGULARISATION,
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.residual and self.num_layers == 1:
            raise ConfigError("--residual acts from the second layer on: it needs --num-layers of 2 or more")

    @property
    def projects_to_tied_head(self) -> bool:
        """Whether a projection H -> E lies between the stack and a head that is the embedding."""
        return self.tie_weights and self.embedding_dim != self.hidden_size


# The dropout rates act in training only and are no part of the network: a run that starts from another one's
# weights may have others.
DROPOUTS = "dropout", "input_dropout", "embedding_dropout", "weight_drop"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimizer, batches, budget and device, all resolved.

    One of minutes, epochs and steps is set, or minutes and epochs: then training ends with the first of them.
    """

    weight_decay: float = option(
        0.01,
        "Weight decay of AdamW, on matrices only.",
        range=NOT_NEGATIVE,
        auto=True,
        group=REGULARISATION,
    )
    activation_penalty: float = option(
        0.0, "L2 penalty on the outputs.", range=NOT_NEGATIVE, group=REGULARISATION
    )
    temporal_activation_penalty: float = option(
        0.0,
        "L2 penalty on output changes; for an LSTM.",
        range=NOT_NEGATIVE,
        auto=True,
        group=REGULARISATION,
    )
    batch_size: int = option(32, "Sequences per batch.", range=COUNT, auto=True, group=OPTIMISATION)
    seq_len: int = option(
        64, "Tokens per window: how far back gradients flow.", range=COUNT, group=OPTIMISATION
    )
    vary_seq_len: bool = option(False, "Draw each window's length around seq_len.", group=OPTIMISATION)
    learning_rate: float = option(
        7e-3, "Peak learning rate of AdamW.", range=POSITIVE, auto=True, group=OPTIMISATION
    )
    warmup_fraction: float = option(
        0.02, "Fraction of the budget spent warming up.", range=FRACTION_BELOW_1, group=OPTIMISATION
    )
    final_lr_fraction: float = option(
        0.01,
        "Final learning rate as a fraction of the peak.",
        range=FRACTION,
        group=OPTIMISATION,
    )
    beta1: float = option(
        0.9,
        "Momentum of AdamW.",
        range=FRACTION_BELOW_1,
        auto=True,
        group=OPTIMISATION,
    )
    clip_norm: float = option(1.0, "Clip gradients to this norm.", range=POSITIVE, group=OPTIMISATION)
    ema_decay: float = option(
        0.0,
        "Average the weights; 0.999 is over about 1000 steps.",
        range=FRACTION_BELOW_1,
        group=OPTIMISATION,
    )
    minutes: float | None = option(
        None, "Budget in wall-clock minutes, evaluations included.", range=POSITIVE, auto=True, group=BUDGET
    )
    epochs: int | None = option(
        None,
        "Budget in passes over the text, also with --minutes.",
        range=COUNT,
        auto=True,
        group=BUDGET,
    )
    steps: int | None = option(None, "Budget in optimizer steps.", range=COUNT, group=BUDGET)
    evaluations: int = option(12, "Validations, spread evenly over the budget.", range=COUNT, group=BUDGET)
    eval_tokens: int | None = option(
        None, "Validation tokens read at each evaluation.", range=COUNT, auto=True, group=BUDGET
    )
    early_stopping: bool = option(True, "Stop when validation no longer improves.", group=BUDGET)
    patience: int = option(4, "Evaluations without improvement before stopping.", range=COUNT, group=BUDGET)
    seed: int = option(1, "Seed of weights, batches and dropout.", range=SEED, group=OPTIMISATION)
    device: str = option(
        "auto", "Where to train; auto takes a GPU if there is one.", choices=DEVICES, group=DEVICE
    )
    precision: str = option("auto", "Arithmetic; auto picks the faster.", choices=PRECISIONS, group=DEVICE)
    threads: int | None = option(None, "CPU threads.", range=COUNT, auto=True, group=DEVICE)
    deterministic: bool = option(False, "Make CUDA repeat bit for bit; slower.", group=DEVICE)

    def __post_init__(self) -> None:
        check_options(self)
        budgets = [name for name in ("minutes", "epochs", "steps") if getattr(self, name) is not None]
        if len(budgets) != 1 and budgets != ["minutes", "epochs"]:
            raise ConfigError(
                "give one budget of minutes, epochs and steps, or minutes and epochs for whichever ends "
                f"first, not {' and '.join(budgets) or 'none'}"
            )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All that a run was made with; config.json in the run's directory.

    directory is where that was then, absolute; None in a run of an earlier version.
    """

    format: int
    textgen_version: str
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    from_run: str | None = None
    directory: str | None = None
    measured: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How the next token is drawn from the logits. None turns a filter off."""

    max_new_tokens: int = option(500, "Tokens to draw at most.", range=COUNT)
    temperature: float = option(
        0.8,
        "Below 1 is safer, above is wilder, 0 always takes the most likely token.",
        range=NOT_NEGATIVE,
    )
    top_k: int | None = option(None, "Draw among the k most likely tokens only.", range=COUNT)
    top_p: float | None = option(
        None, "Draw among the fewest tokens that hold this much probability.", range=FRACTION
    )
    min_p: float | None = option(
        None, "Leave out tokens less likely than this fraction of the likeliest one.", range=FRACTION
    )
    repetition_penalty: float = option(
        1.0, "Above 1 makes tokens that already occurred less likely.", range=POSITIVE
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class DynamicConfig:
    """How the weights follow a text that is read: dynamic evaluation (Krause et al. 2018)."""

    # see RECIPE.md, "dynamic evaluation"
    method: str = option(
        "rms",
        "sgd, or rms: each weight's step divided by the size of its gradients on the training text.",
        choices=DYNAMIC_METHODS,
    )
    rate: float = option(
        0.16,
        "Learning rate; raise it for a text that changes, lower it for a uniform one.",
        range=Range(0.0, 1e6, "0 or more and at most 1,000,000"),
    )
    window: int = option(
        20, "Tokens between updates; fewer follow the text more closely and take longer.", range=COUNT
    )
    decay: float = option(
        0.0003, "Pull back to the trained weights at each update; raise it for a varied text.", range=FRACTION
    )
    clip_norm: float = option(1.0, "Clip gradients to this norm.", range=POSITIVE)
    mix: bool = option(
        True, "Mix in the trained weights' predictions, weighted by how well each has done so far."
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class NoveltyConfig:
    """The texts that are drawn to measure how much of them stands word for word in the training text."""

    # see RECIPE.md, "novelty"
    length: int = option(
        40, "Count copies of at least N characters, word for word from the training text.", range=COUNT
    )
    samples: int = option(20, "Texts to draw.", range=COUNT)
    tokens: int = option(500, "Tokens of each text at most.", range=COUNT)
    temperature: float = option(
        SampleConfig.temperature, "Their temperature; lower copies more.", range=NOT_NEGATIVE
    )
    seed: int = option(1, "Their seed; the same one gives the same figures.", range=SEED)

    def __post_init__(self) -> None:
        check_options(self)
