"""The config dataclasses: every option with its default and help, declared once.

    RunConfig      all settings of a run; written to config.json before the first step
        data: DataConfig          where the text is, what a document is, how it is tokenized
        model: ModelConfig        the network
        training: TrainingConfig  optimizer, batches, budget, device
        measured: dict            sizes and speeds that were measured: for information, never read as settings
    SampleConfig   how the next token is drawn
    DynamicConfig  dynamic evaluation: how the weights adapt to a text
    NoveltyConfig  how much of the generated text is copied: the texts that are sampled for it

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
    shown,
    unknown_name,
)

CELLS = tuple(CELL_SPECS)
TOKENIZER_KINDS = ("char", "byte", "bpe", "word")
DOCUMENT_KINDS = ("file", "line", "block")
VAL_ORDERS = ("hash", "end")
USER_PLACE = "{user}"  # in a chat template, of the user's message
RECORD = "record"  # a document that is a record of a file; not to be chosen, it follows from the file
NORMAL_FORMS = ("nfc", "nfd", "nfkc", "nfkd")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
DYNAMIC_METHODS = ("sgd", "rms")

# What was measured and is computed with: numbers above 0.
_MEASURED_NUMBERS = "parameters", "train_tokens", "train_characters", "characters_per_token"

# The headings of the help.
TEXT, NETWORK, REGULARISATION, OPTIMISATION = "Text", "Network", "Regularisation", "Optimisation"
BUDGET, DEVICE = "Budget and validation", "Device"

MAX_LABELS = 1000
SHARD_CHARACTERS = 2**26  # of text, in a shard of `textgen encode`
# Of a tokenizer and of a model: enough for every character of Unicode.
MAX_VOCAB_SIZE = 2**21
_VOCAB_SIZE = Range(1, MAX_VOCAB_SIZE, f"at least 1 and at most {MAX_VOCAB_SIZE:,}")
_THREADS = Range(1, 4096, "at least 1 and at most 4,096")
_LAYERS = Range(1, 1000, "at least 1 and at most 1,000")
_LABELS_SHOWN = 20

# Added to the variance in layer norm, against a division by zero; the default of torch.
LAYER_NORM_EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the text is, what a document is, and how text becomes tokens."""

    corpus: tuple[str, ...]
    tokenizer: str = option("char", "char, byte, bpe, word, or a tokenizer.json.", group=TEXT)
    vocab_size: int | None = option(
        None,
        "Maximum vocabulary size of char, word or bpe.",
        range=_VOCAB_SIZE,
        auto=True,
        group=TEXT,
    )
    min_frequency: int | None = option(
        None,
        "Do not learn tokens that occur less often.",
        range=COUNT,
        auto=True,
        group=TEXT,
    )
    end_of_text: str | None = option(None, "End-of-text token of a tokenizer.json, if unusual.", group=TEXT)
    documents: str = option(
        "file",
        "What a document is; blank lines end blocks.",
        choices=DOCUMENT_KINDS,
        group=TEXT,
    )
    include: tuple[str, ...] | None = option(
        None, "Read these files of folders: '*.py', 'src/**'; repeatable.", group=TEXT
    )
    field: str | None = option(
        None,
        "Field of records with the text: a name, a.b, or a column number.",
        group=TEXT,
    )
    label_field: str | None = option(None, "Field of records with a label to condition on.", group=TEXT)
    delimiter: str | None = option(
        None, "Delimiter of .csv and .tsv; found in the header if not given.", group=TEXT
    )
    encoding: str = option("utf-8", "Encoding of the text files.", group=TEXT)
    normalize: str | None = option(
        None, "Unicode form of text and prompts: nfc, nfd, nfkc or nfkd.", choices=NORMAL_FORMS, group=TEXT
    )
    chat_template: str | None = option(
        None, 'For `serve`: how a prompt holds a message, as "Q: {user}\\nA:".', group=TEXT
    )
    chat_stop: str | None = option(None, "For `serve`: what ends an answer, as '\\n'.", group=TEXT)
    val_fraction: float = option(
        0.1, "Fraction held out for validation; 0: none.", range=FRACTION_BELOW_1, group=TEXT
    )
    # The defaults of these two are what runs of earlier versions did, whose config.json does not have them.
    val_order: str = option(
        "end",
        "Hold out documents chosen by hash, or the end.",
        choices=VAL_ORDERS,
        auto=True,
        group=TEXT,
    )
    val_characters: int | None = option(
        None, "Validation characters to read at most.", range=COUNT, auto=True, group=TEXT
    )
    val: str | None = option(None, "Validate on this file instead.", group=TEXT)
    test: str | None = option(None, "Keep this file for `textgen eval --part test`.", group=TEXT)

    def __post_init__(self) -> None:
        check_options(self)
        try:
            "".encode(self.encoding)
        except (LookupError, UnicodeError):
            raise ConfigError(f"encoding={self.encoding!r}: Python has no such encoding") from None
        if self.delimiter is not None and self.delimiter_character is None:
            raise ConfigError(f"--delimiter {self.delimiter!r}: name one character, or tab")
        if self.include is not None and not all(self.include or [""]):
            raise ConfigError("--include: name at least one pattern, and no empty one")
        if not self.uses_tokenizer_file and self.end_of_text is not None:
            raise ConfigError(
                f"--end-of-text is for the path of a tokenizer.json, not for --tokenizer {self.tokenizer}: "
                "leave it out"
            )
        if self.chat_template is not None and self.chat_template.count(USER_PLACE) != 1:
            raise ConfigError(
                f"--chat-template {shown(self.chat_template)}: write {USER_PLACE} once, for the message"
            )
        if self.chat_stop == "" or (self.chat_stop is not None and self.chat_template is None):
            raise ConfigError("--chat-stop: name a text that ends an answer, beside a --chat-template")
        fixed = self.tokenizer == "byte" or self.uses_tokenizer_file
        for name in ("vocab_size", "min_frequency"):
            if fixed and getattr(self, name) is not None:
                raise ConfigError(
                    f"{flag(name)} does not apply to --tokenizer {self.tokenizer}, whose tokens are fixed: "
                    "leave it out"
                )

    @property
    def texts(self) -> tuple[str, ...]:
        """The corpus and the texts of val and test: files, folders, globs, URLs or `-`."""
        return (*self.corpus, *filter(None, (self.val, self.test)))

    @property
    def uses_tokenizer_file(self) -> bool:
        """Whether `tokenizer` is the path of a tokenizer.json and not one of TOKENIZER_KINDS."""
        return self.tokenizer not in TOKENIZER_KINDS

    @property
    def holds_out(self) -> bool:
        """Whether part of the corpus is held out for validation."""
        return self.val is None and self.val_fraction > 0

    @property
    def delimiter_character(self) -> str | None:
        """The delimiter as a character, with `tab` and `\\t` replaced; None: to be found in the header."""
        character = {"tab": "\t", "\\t": "\t"}.get(self.delimiter or "", self.delimiter)
        valid = character is not None and len(character) == 1 and character not in '"\r\n'
        return character if valid else None

    @property
    def document_kind(self) -> str:
        """What a document of this corpus is: one of DOCUMENT_KINDS, or RECORD."""
        return RECORD if self.documents == "file" and self.field is not None else self.documents

    @property
    def documents_of_other_text(self) -> str:
        """What a document of another plain text is: a line where the documents of this corpus are records."""
        return "line" if self.document_kind == RECORD else self.documents

    def for_text(self, path: str, **reading: str | None) -> DataConfig:
        """These settings for another text.

        reading: documents, field, delimiter or encoding of that text; None is as if it were absent, and what
        is absent is as in this corpus (see documents_of_other_text).
        """
        given: dict[str, Any] = {name: value for name, value in reading.items() if value is not None}
        return replace(
            self,
            **{"corpus": (path,), "label_field": None, "documents": self.documents_of_other_text, **given},
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The sizes and the structure of the network.

    model_vocab_size (V) is the number of tokens in the training text: the rows of embedding and head.
    labels: the labels of documents; each has a vector that is added to the embedding of the start token,
    model id start_id. Together they are model id V + 1 + index of the label, which is read, never predicted.
    """

    model_vocab_size: int = option(
        ..., "Size of the model vocabulary: the tokens that occur in the training text.", range=_VOCAB_SIZE
    )
    labels: tuple[str, ...] = option((), "Labels of documents, in the order of their ids.")
    start_id: int | None = option(None, "Model id of the start token, where there are labels.", range=SEED)
    cell: str = option(
        "lstm",
        "Recurrent cell: lstm, gru, or a plain tanh rnn.",
        choices=CELL_SPECS,
        hints={"ngram": "n-grams are counted, by textgen ngram RUN and textgen compare --cells lstm,ngram"},
        group=NETWORK,
    )
    hidden_size: int = option(256, "Units in each recurrent layer.", range=COUNT, auto=True, group=NETWORK)
    num_layers: int = option(1, "Stacked recurrent layers.", range=_LAYERS, auto=True, group=NETWORK)
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
        "Dropout on embeddings; for subwords.",
        range=FRACTION_BELOW_1,
        auto=True,
        group=REGULARISATION,
    )
    embedding_dropout: float = option(
        0.0,
        "Dropout of whole tokens; for subwords.",
        range=FRACTION_BELOW_1,
        auto=True,
        group=REGULARISATION,
    )
    weight_drop: float = option(
        0.0,
        "Recurrent weight dropout; for small texts.",
        range=FRACTION_BELOW_1,
        auto=True,
        group=REGULARISATION,
    )

    def __post_init__(self) -> None:
        check_options(self)
        if not all(
            character < "\ud800" or character > "\udfff" for label in self.labels for character in label
        ):
            raise ConfigError("labels must be valid Unicode, without surrogates")
        if self.labels and (self.start_id is None or self.start_id >= self.model_vocab_size):
            raise ConfigError(f"labels need start_id, a model id; not {self.start_id}")
        if len(set(self.labels)) < len(self.labels) or len(self.labels) > MAX_LABELS:
            raise ConfigError(f"labels must differ from each other, and be at most {MAX_LABELS:,}")
        if self.residual and self.num_layers == 1:
            raise ConfigError("--residual acts from the second layer on: give --num-layers 2 or more")

    def label_id(self, label: str) -> int:
        """The model id of the start token with a label. Raises ConfigError for an unknown label."""
        if label not in self.labels:
            known = (
                f"the labels are {', '.join(self.labels[:_LABELS_SHOWN])}"
                if self.labels
                else "there are none"
            )
            more = ", ..." if len(self.labels) > _LABELS_SHOWN else ""
            raise ConfigError(f"{unknown_name('label', label, self.labels)}; {known}{more}")
        return self.model_vocab_size + 1 + self.labels.index(label)

    @property
    def projects_to_tied_head(self) -> bool:
        """Whether a projection H -> E comes before a head that shares the embedding's weights."""
        return self.tie_weights and self.embedding_dim != self.hidden_size


# Dropout acts only in training: a run that starts from the weights of another one may have other rates.
DROPOUTS = "dropout", "input_dropout", "embedding_dropout", "weight_drop"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimizer, batches, budget and device.

    Either one of minutes, epochs and steps is set, or minutes and epochs: whichever ends first ends training.
    """

    weight_decay: float = option(
        0.01,
        "Weight decay of AdamW, on matrices only.",
        range=NOT_NEGATIVE,
        auto=True,
        group=REGULARISATION,
    )
    activation_penalty: float = option(
        0.0, "L2 penalty on the last layer's outputs.", range=NOT_NEGATIVE, group=REGULARISATION
    )
    temporal_activation_penalty: float = option(
        0.0,
        "L2 penalty on output changes; for an LSTM.",
        range=NOT_NEGATIVE,
        auto=True,
        group=REGULARISATION,
    )
    batch_size: int = option(32, "Sequences per batch.", range=COUNT, auto=True, group=OPTIMISATION)
    accumulate: int = option(
        1, "Micro-batches per step: less memory, same result.", range=COUNT, group=OPTIMISATION
    )
    seq_len: int = option(
        64, "Tokens per window: how far back gradients flow.", range=COUNT, group=OPTIMISATION
    )
    shuffle: bool = option(False, "Read documents in a new order each epoch.", auto=True, group=OPTIMISATION)
    vary_seq_len: bool = option(False, "Vary the length of each window around --seq-len.", group=OPTIMISATION)
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
        "Average the weights; 0.999: over about 1000 steps.",
        range=FRACTION_BELOW_1,
        group=OPTIMISATION,
    )
    minutes: float | None = option(
        None, "Minutes of training, evaluations included.", range=POSITIVE, auto=True, group=BUDGET
    )
    epochs: int | None = option(
        None,
        "Passes over the text; also as a limit with --minutes.",
        range=COUNT,
        auto=True,
        group=BUDGET,
    )
    steps: int | None = option(
        None, "Optimizer steps, instead of --minutes and --epochs.", range=COUNT, group=BUDGET
    )
    evaluations: int = option(12, "Validations, spread evenly over training.", range=COUNT, group=BUDGET)
    eval_tokens: int | None = option(
        None, "Validation tokens read each time.", range=COUNT, auto=True, group=BUDGET
    )
    early_stopping: bool = option(True, "Stop when validation no longer improves.", group=BUDGET)
    patience: int = option(4, "Validations without improvement before stopping.", range=COUNT, group=BUDGET)
    ngram: bool = option(True, "Add n-grams at the end, if they help; they hold text.", group=BUDGET)
    seed: int = option(1, "Seed of weights, batches and dropout.", range=SEED, group=OPTIMISATION)
    device: str = option("auto", "Device to train on; auto prefers a GPU.", choices=DEVICES, group=DEVICE)
    precision: str = option("auto", "Precision; auto takes the faster one.", choices=PRECISIONS, group=DEVICE)
    threads: int | None = option(None, "CPU threads.", range=_THREADS, auto=True, group=DEVICE)
    deterministic: bool = option(False, "Repeat bit for bit on CUDA too; slower.", group=DEVICE)

    def __post_init__(self) -> None:
        check_options(self)
        budgets = [name for name in ("minutes", "epochs", "steps") if getattr(self, name) is not None]
        if len(budgets) != 1 and budgets != ["minutes", "epochs"]:
            raise ConfigError(
                f"give one budget: minutes, epochs or steps, or minutes and epochs together, whichever ends "
                f"first; not {' and '.join(budgets) or 'none'}"
            )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All settings of a run; config.json in its directory.

    directory: the absolute path of the run when it was made; None in runs of an earlier version. remote:
    where text was fetched from, an entry with the fields of text.remote.texts.RemoteRecord for each URL.
    """

    format: int
    textgen_version: str
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig
    from_run: str | None = None
    directory: str | None = None
    remote: tuple[dict[str, Any], ...] = ()
    measured: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_options(self)
        for name, value in self.measured.items():
            if name not in _MEASURED_NUMBERS and (value is None or isinstance(value, str)):
                continue
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            allowed = POSITIVE if name in _MEASURED_NUMBERS else NOT_NEGATIVE
            broken = allowed.violation(value) if is_number else "must be a number"
            if broken:
                raise ConfigError(f"measured: {shown(name)}={shown(value)}: {broken}")


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How the next token is drawn from the logits. None turns a filter off.

    min_new_tokens: so many are drawn before end-of-text may be; stop strings may end a text before.
    heal: token healing; the last tokens of a prompt are drawn again if a longer token may stand there. Those
        that only write the prompt's own text again are not among the new tokens that are counted.
    """

    max_new_tokens: int = option(500, "Write at most this many tokens.", range=COUNT)
    min_new_tokens: int = option(0, "Write at least this many tokens.", range=SEED)
    temperature: float = option(
        0.8,
        "Below 1 is safer, above is wilder; 0 is greedy.",
        range=NOT_NEGATIVE,
    )
    top_k: int | None = option(None, "Draw only from the k most likely tokens.", range=COUNT)
    top_p: float | None = option(
        None, "Draw from the fewest tokens with this total probability.", range=FRACTION
    )
    min_p: float | None = option(
        None, "Drop tokens below this fraction of the highest probability.", range=FRACTION
    )
    repetition_penalty: float = option(1.0, "Above 1 makes repeated tokens less likely.", range=POSITIVE)
    heal: bool = option(True, "Complete a word that the prompt cuts off.")

    def __post_init__(self) -> None:
        check_options(self)
        if self.min_new_tokens > self.max_new_tokens:
            raise ConfigError(
                f"min_new_tokens={self.min_new_tokens} is more than max_new_tokens={self.max_new_tokens}: "
                "lower the first or raise the second"
            )


@dataclass(frozen=True, kw_only=True)
class DynamicConfig:
    """Dynamic evaluation: how the weights adapt to a text while it is read (Krause et al. 2018)."""

    # see RECIPE.md, "dynamic evaluation"
    method: str = option(
        "rms",
        "rms scales steps by the training text's gradients.",
        choices=DYNAMIC_METHODS,
    )
    rate: float = option(
        0.16,
        "Learning rate; raise it for a text that changes.",
        range=Range(0.0, 1e6, "0 or more and at most 1,000,000"),
    )
    window: int = option(20, "Tokens between updates; fewer take longer.", range=COUNT)
    decay: float = option(0.0003, "Pull towards the trained weights at each update.", range=FRACTION)
    clip_norm: float = option(1.0, "Clip gradients to this norm.", range=POSITIVE)
    mix: bool = option(True, "Mix in the trained weights' predictions.")
    network_weight: float | None = option(
        None,
        "Weight of the network beside n-grams.",
        range=FRACTION,
        auto=True,
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class NoveltyConfig:
    """The texts that are sampled to measure how much of them is copied from the training text."""

    # see RECIPE.md, "novelty"
    length: int = option(40, "Count only copies of at least N characters.", range=COUNT)
    samples: int = option(20, "Number of texts to sample.", range=COUNT)
    tokens: int = option(500, "Maximum number of tokens per text.", range=COUNT)
    temperature: float = option(
        SampleConfig.temperature, "Temperature; lower copies more.", range=NOT_NEGATIVE
    )
    seed: int = option(1, "Seed; the same seed gives the same results.", range=SEED)

    def __post_init__(self) -> None:
        check_options(self)
