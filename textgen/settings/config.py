"""What can be chosen: every option, its default and its help, said once.

    RunConfig      what a run was made with; complete, written to config.json before the first step
        data: DataConfig          where the text is, what a document is, how it is tokenized
        model: ModelConfig        the network
        training: TrainingConfig  optimizer, batches, budget, device
        measured: dict            sizes and figures found while resolving (for reading, not for choosing)
    SampleConfig   how the next token is drawn
    DynamicConfig  how the weights follow a text that is read
    NoveltyConfig  what is drawn to see how much of it stands in the training text

What the user said, before anything was chosen, is TrainOptions (given.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from textgen.errors import ConfigError
from textgen.settings.cells import CELL_SPECS
from textgen.settings.option import check_choice, check_ranges, flag, option

CELLS = tuple(CELL_SPECS)
TOKENIZER_KINDS = ("char", "byte", "bpe", "word")
DOCUMENT_KINDS = ("file", "line", "block")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
DYNAMIC_METHODS = ("sgd", "rms")

# What layer norm adds to the variance, so that equal numbers are not divided by zero: torch's default.
LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the text is, what a document is, and how text becomes tokens."""

    corpus: tuple[str, ...]
    documents: str = option(
        "file", "What a document is: the whole file, a line, or a block between blank lines."
    )
    field: str | None = option(None, "The field of a .jsonl or .csv record that holds its text.")
    encoding: str = option("utf-8", "The encoding of the text files.")
    val_fraction: float = option(0.1, "The share at the end of each source that is kept for validation.")
    val: str | None = option(None, "A file to validate on, instead of the end of the corpus.")
    test: str | None = option(None, "A file to keep for testing; `textgen eval --part test` reads it.")
    tokenizer: str = option("char", "char, byte, bpe, word, or the path of a tokenizer.json.")
    vocab_size: int | None = option(
        None, "Tokens to learn: characters, words, or bpe tokens with their 256 bytes."
    )
    min_frequency: int | None = option(
        None, "How often a character, word or bpe merge must occur to be learnt."
    )
    end_of_text: str | None = option(
        None, "The end-of-text token of a given tokenizer.json, when it is not a known one."
    )

    def __post_init__(self) -> None:
        check_choice("documents", self.documents, DOCUMENT_KINDS)
        check_ranges(self)
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
        """These settings for another text, with what was said of it; None: as this one's."""
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

    model_vocab_size: int
    cell: str = option("lstm", "The recurrent cell: lstm, gru or a plain tanh rnn.")
    embedding_dim: int = option(64, "Size of a token's embedding; a wide one of few characters costs little.")
    hidden_size: int = option(256, "Units in each recurrent layer.")
    num_layers: int = option(1, "Recurrent layers stacked on each other.")
    dropout: float = option(
        0.0,
        "Share of units dropped between layers and on the output, one mask for all steps; helps texts that "
        "are read again and again (0.46 on data/faq.txt: 3.4% fewer bits).",
    )
    input_dropout: float = option(
        0.0,
        "Share of the embedding's units dropped, one mask for all steps; helps subwords of small texts (0.3 "
        "on data/faq.txt: 3.3% fewer bits), not characters (0.1 on tiny Shakespeare and on source code: 0.2 "
        "and 0.4% more).",
    )
    embedding_dropout: float = option(
        0.0,
        "Share of tokens whose embedding is dropped wherever a window holds them; helps subwords (0.05 on "
        "tiny Shakespeare: 1.4% fewer bits), not characters (0.05 on tiny Shakespeare and on source code: "
        "1.6 and 1.8% more).",
    )
    weight_drop: float = option(
        0.0,
        "Share of the recurrent weights dropped in each step of training; helps small texts (0.15 on "
        "data/faq.txt: 2.1% fewer bits), source code (0.1 on C headers 2.1%) and subwords; "
        "on a megabyte of tiny Shakespeare no difference, and 0.2 is too much (1.2% more).",
    )
    residual: bool = option(
        False,
        "Add each layer's input to its output, from the second layer on; for stacks of more than two (with "
        "two layers 0.3 and 1.6% more bits on tiny Shakespeare and source code).",
    )
    layer_norm: bool = option(
        False,
        "Layer norm on what is read above each layer; for deep stacks and high learning rates (with one "
        "layer 2.3 to 4.7% more bits on three texts).",
    )
    tie_weights: bool = option(
        False,
        "Use the embedding as the head too, projected where sizes differ; helps subwords of prose (0.3 and "
        "0.7% fewer bits on two texts), not of source code (0.7% more), nor characters (between 0.8% more "
        "and 0.6% fewer on three texts).",
    )

    def __post_init__(self) -> None:
        check_choice("cell", self.cell, tuple(CELL_SPECS))
        check_ranges(self)
        if self.residual and self.num_layers == 1:
            raise ConfigError("--residual acts from the second layer on: it needs --num-layers of 2 or more")

    @property
    def projects_to_tied_head(self) -> bool:
        """Whether a projection H -> E lies between the stack and a head that is the embedding."""
        return self.tie_weights and self.embedding_dim != self.hidden_size


# What of a network is dropped in training, which is no part of it: a run that starts from another one's may
# drop other shares.
DROPOUTS = "dropout", "input_dropout", "embedding_dropout", "weight_drop"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimizer, batches, budget and device, all resolved.

    One of minutes, epochs and steps is set, or minutes and epochs: then what is spent first ends the run.
    """

    batch_size: int = option(32, "Lanes of text read side by side.")
    seq_len: int = option(64, "Tokens in a window: how far the gradient reaches back.")
    vary_seq_len: bool = option(
        False,
        "Draw each window's length around seq_len (on three texts between 0.7% fewer and 0.7% more bits: no "
        "difference beyond that of two seeds).",
    )
    learning_rate: float = option(7e-3, "Peak learning rate of AdamW.")
    warmup_fraction: float = option(0.02, "Share of the budget in which the learning rate rises.")
    final_lr_fraction: float = option(0.01, "Learning rate at the end of the budget, as a share of the peak.")
    beta1: float = option(
        0.9,
        "Share of AdamW's mean of the gradients that is kept from step to step: its momentum. 0.5 with a "
        "rate of 0.014 gave one layer of an LSTM 1.4 to 4.7% fewer bits on three texts than 0.9 with 0.007.",
    )
    weight_decay: float = option(
        0.01,
        "AdamW's decay of the weight matrices per unit of learning rate; 0.06 to 0.1 gave an LSTM 2.7 to "
        "5.7% fewer bits on three texts than none.",
    )
    clip_norm: float = option(1.0, "Gradients with a larger norm are scaled down to it.")
    ema_decay: float = option(
        0.0,
        "Keep an average of the weights: 0.999 is over about 1000 steps. For a rate that stays high; with "
        "the usual schedule between no difference and 0.5% fewer bits on three texts.",
    )
    activation_penalty: float = option(
        0.0,
        "Weight of the outputs' mean square; 1 beside the one below gave 0.3 and 0.7% fewer bits on tiny "
        "Shakespeare and source code, and 0.6% more on data/faq.txt.",
    )
    temporal_activation_penalty: float = option(
        0.0,
        "Weight of the mean square of the outputs' steps; 1 gave an LSTM 2.4, 3.2 and 2.1% fewer bits on "
        "tiny Shakespeare, source code and data/faq.txt, and a GRU 2% more.",
    )
    minutes: float | None = option(None, "Budget in wall-clock minutes, with the evaluations on the way.")
    epochs: int | None = option(
        None,
        "Budget in passes over the training text; with --minutes, what comes first: a small text that is "
        "read too often is learnt by heart.",
    )
    steps: int | None = option(None, "Budget in optimizer steps.")
    evaluations: int = option(12, "How often to validate during training, evenly over the budget.")
    eval_tokens: int | None = option(None, "Validation tokens read at each of these evaluations.")
    early_stopping: bool = option(True, "Stop when validation has not improved for `patience` evaluations.")
    patience: int = option(4, "Evaluations without improvement before early stopping.")
    seed: int = option(1, "Seed of weights, batches and dropout.")
    device: str = option("auto", "Where to train; auto takes a GPU if there is one. mps is untested.")
    precision: str = option("auto", "Arithmetic of the network; auto takes bfloat16 where it is faster.")
    threads: int | None = option(None, "CPU threads.")
    deterministic: bool = option(False, "Make CUDA repeat bit for bit; slower. A CPU always does.")

    def __post_init__(self) -> None:
        check_choice("device", self.device, DEVICES)
        check_choice("precision", self.precision, PRECISIONS)
        check_ranges(self)
        budgets = [name for name in ("minutes", "epochs", "steps") if getattr(self, name) is not None]
        if len(budgets) != 1 and budgets != ["minutes", "epochs"]:
            raise ConfigError(
                "give one budget of minutes, epochs and steps, or minutes and epochs for what comes first, "
                f"not {' and '.join(budgets) or 'none'}"
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

    max_new_tokens: int = option(500, "Tokens to draw at most.")
    temperature: float = option(
        0.8, "Below 1 is safer, above is wilder, 0 always takes the most likely token."
    )
    top_k: int | None = option(None, "Draw among the k most likely tokens only.")
    top_p: float | None = option(None, "Draw among the fewest tokens that hold this much probability.")
    min_p: float | None = option(None, "Leave out tokens less likely than this share of the likeliest one.")
    repetition_penalty: float = option(1.0, "Above 1 makes tokens that already occurred less likely.")

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class DynamicConfig:
    """How the weights follow a text that is read: dynamic evaluation.

    Tuned on the last tenth of the first nine tenths of two texts, by characters, with runs of a minute. Nats
    per token of its first 50,000 with weights that stand still, and with these settings: tiny Shakespeare
    1.367, 1.294; data/faq.txt, which is alike throughout, 1.007, 1.007. A rate of 0.1 with a decay of 0.001
    gave 1.306 and 1.006; sgd without the mixture lost 0.02 of what rms gained.
    """

    method: str = option(
        "rms", "sgd, or rms: each weight's step divided by the size of its gradients on the training text."
    )
    rate: float = option(
        0.16,
        "Step down each window's gradient; more suits a text that changes, less one that is alike.",
    )
    window: int = option(20, "Tokens read between steps; fewer follow the text more closely and take longer.")
    decay: float = option(
        0.0003, "Share of the way back to the trained weights at each step; more suits a text of many parts."
    )
    clip_norm: float = option(1.0, "Gradients with a larger norm are scaled down to it.")
    mix: bool = option(
        True,
        "Let the trained weights predict too and trust whichever did better so far; a text that is alike "
        "throughout then costs no more.",
    )

    def __post_init__(self) -> None:
        check_choice("method", self.method, DYNAMIC_METHODS)
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class NoveltyConfig:
    """What is drawn from a run to see how much of it stands word for word in the training text.

    `length` is one that real text hardly reaches: of the first 40,000 characters of validation text 1.7% lay
    in copies of at least 20 characters, 0.1% of 30 and none of 40 in tiny Shakespeare; 23%, 3.8% and 0.8% in
    data/faq.txt, which is alike throughout.
    """

    length: int = option(
        40, "Count what stands word for word in the training text for N characters in a row or more."
    )
    samples: int = option(20, "Texts to draw.")
    tokens: int = option(500, "Tokens of each text at most.")
    temperature: float = option(SampleConfig.temperature, "Their temperature; lower copies more.")
    seed: int = option(1, "Their seed; the same one gives the same figures.")

    def __post_init__(self) -> None:
        check_ranges(self)
