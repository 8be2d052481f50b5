"""The recipe: the network and the settings for the lowest validation loss on a text within a budget.

    minutes x the reference's speed on this device = work ─→ network ─→ pressure ─→ dropout, weight decay
                                                              └─→ tokens it will read ─→ batch size

Work is the number of tokens that the reference network would read within the budget. A larger network learns
more from each token but reads fewer of them, so it takes more work to pay for one. Pressure says how strongly
a network is pushed to memorise the text, by reading it many times and by having many weights for it:

    pressure = log2(epochs x parameters / tokens)

The rules were fitted to experiments; RECIPE.md in this folder has the figures of each, under the name that
the comments here give.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple

# The network whose training speed, with the default batches, says how fast a device is.
REFERENCE = {"num_layers": 1, "hidden_size": 384}
# What Network.parameters counts as the first layer's input: whatever the width of the embedding, that layer
# sees one vector per character, and a text in Latin script has about this many distinct characters.
TYPICAL_CHARACTERS = 64
# Up to this vocabulary a wide embedding costs about as much time as one of 64, see LanguageModel.read.
MAX_VOCAB_FOR_WIDE_EMBEDDING = 128
MAX_CHARACTERS = 512  # larger vocabularies are subwords, or characters that say as much
CHARACTER_EMBEDDING_DIM, SUBWORD_EMBEDDING_DIM = 64, 256  # large enough not to cost quality


@dataclass(frozen=True)
class Network:
    """A size of network, its cost, and the work from which it beats a smaller one.

    cost is the time to train on a token as a multiple of the reference's. min_work is in tokens that the
    reference would read; min_work_in_float32 is the same on a CPU without bfloat16, None if it is not known
    to differ.
    """

    num_layers: int
    hidden_size: int
    cost: float
    min_work: float
    min_work_in_float32: float | None = None

    @classmethod
    def of_size(cls, num_layers: int, hidden_size: int) -> Network:
        """A network of any size, not only of NETWORKS; its cost is estimated from its parameters."""
        network = cls(num_layers, hidden_size, cost=1.0, min_work=0)
        share = network.parameters / cls(**REFERENCE, cost=1.0, min_work=0).parameters
        return dataclasses.replace(network, cost=0.35 + 0.65 * share)

    @property
    def parameters(self) -> int:
        """The number of weights in an LSTM's layers; the first layer reads TYPICAL_CHARACTERS one-hot."""
        H = self.hidden_size
        return 4 * H * (TYPICAL_CHARACTERS + H) + (self.num_layers - 1) * 8 * H * H

    def pays_off(self, work: float, *, is_float32: bool) -> bool:
        """Whether this much work trains it further than a smaller network."""
        least = self.min_work_in_float32 if is_float32 else None
        return work >= (self.min_work if least is None else least)

    def fits(self, train_tokens: int) -> bool:
        """Whether a text of this many tokens is large enough for it."""
        is_deep = self.num_layers > 1
        most = MAX_PARAMETERS_PER_TOKEN_OF_DEEP if is_deep else MAX_PARAMETERS_PER_TOKEN
        return self.parameters <= most * train_tokens


# see RECIPE.md, "network size"
NETWORKS = (
    Network(num_layers=1, hidden_size=128, cost=0.5, min_work=0),
    Network(num_layers=1, hidden_size=256, cost=0.75, min_work=1e6),
    Network(num_layers=1, hidden_size=384, cost=1.0, min_work=3e6, min_work_in_float32=7e6),
    Network(num_layers=2, hidden_size=384, cost=2.3, min_work=18e6),
    Network(num_layers=2, hidden_size=512, cost=3.9, min_work=150e6),
    Network(num_layers=2, hidden_size=1024, cost=14.0, min_work=1e9),
)
# A wide network overfits a small text before its width gains anything. see RECIPE.md, "network size"
MAX_PARAMETERS_PER_TOKEN = 6
MAX_PARAMETERS_PER_TOKEN_OF_DEEP = 3

# The pressure of the reference network on a megabyte of characters in two minutes, from which dropout and
# weight drop are counted in octaves. Beyond this many octaves nothing was measured. see RECIPE.md, "dropout"
REFERENCE_PRESSURE = 3.25
MAX_EXCESS_PRESSURE = 4.0

# A text that is read more often than this is memorised whatever the dropout. see RECIPE.md, "epochs"
MAX_EPOCHS = 30
MAX_EPOCHS_OF_SUBWORDS = 120  # with every part of Regularization in use
MIN_CHARACTERS_READ = 3.5e6  # of a smaller text, however often: fewer steps do not learn what is in it

# A run that reads few tokens lacks steps rather than tokens in each, so half the batch does better, unless it
# is much slower. see RECIPE.md, "batch size"
MAX_TOKENS_IN_SMALL_BATCHES = 6e6
MAX_SUBWORDS_IN_SMALL_BATCHES = 8e6
MIN_SPEED_SHARE_OF_SMALL_BATCHES = 0.75  # of the tokens that full batches would read in the same time

# By cell; other cells get none. see RECIPE.md, "temporal activation regularization"
TEMPORAL_ACTIVATION_PENALTY = {"lstm": 1.0}

# Peak learning rate and beta1 of AdamW: by cell, for one layer no wider than the reference, and for more
# layers. see RECIPE.md, "learning rate and momentum"
LEARNING_RATE, BETA1 = {"lstm": 14e-3}, {"lstm": 0.5, "gru": 0.5}
LEARNING_RATE_OF_OTHERS, BETA1_OF_OTHERS = 7e-3, 0.9
LEARNING_RATE_OF_DEEP, BETA1_OF_DEEP = {"lstm": 16e-3}, {"lstm": 0.5}
LEARNING_RATE_OF_OTHERS_OF_DEEP = 5.6e-3

# Of the weight matrices, per unit of learning rate. see RECIPE.md, "weight decay"
WEIGHT_DECAY = 0.1


@dataclass(frozen=True)
class Recipe:
    """The settings that are chosen together.

    epochs is the most passes over the text; None is as many as there is time for.
    """

    hidden_size: int
    num_layers: int
    dropout: float
    input_dropout: float
    embedding_dropout: float
    weight_drop: float
    tie_weights: bool
    learning_rate: float
    beta1: float
    weight_decay: float
    temporal_activation_penalty: float
    epochs: int | None


def embedding_dim(
    model_vocab_size: int, hidden_size: int, cell: str = "lstm", *, is_tied: bool = False
) -> int:
    """The size of the embedding for a vocabulary and a network.

    An LSTM on characters gets one as wide as its layers, which costs little time; so does an embedding that
    is also the head, which then needs no projection. see RECIPE.md, "embedding size"
    """
    if is_tied or (cell == "lstm" and model_vocab_size <= MAX_VOCAB_FOR_WIDE_EMBEDDING):
        return hidden_size
    usual = SUBWORD_EMBEDDING_DIM if is_subword_vocab(model_vocab_size) else CHARACTER_EMBEDDING_DIM
    return min(hidden_size, usual)


def is_subword_vocab(model_vocab_size: int) -> bool:
    """Whether a vocabulary is of subwords, or of characters of a script of thousands, which say as much."""
    return model_vocab_size > MAX_CHARACTERS


def ties_weights(model_vocab_size: int, cell: str) -> bool:
    """Whether the embedding is also the head.

    Never for a plain RNN: its first hidden states are large, and so its first logits would be.
    """
    return is_subword_vocab(model_vocab_size) and cell != "rnn"


class Regularization(NamedTuple):
    """The shares that are dropped in training; see RECIPE.md, "dropout" and "weight drop"."""

    dropout: float
    input_dropout: float = 0.0
    embedding_dropout: float = 0.0
    weight_drop: float = 0.0

    @classmethod
    def of_characters(cls, excess: float, *, is_deep: bool, cell: str) -> Regularization:
        """For characters, by how many octaves the pressure is above REFERENCE_PRESSURE; negative is below."""
        at_reference = 0.1 if is_deep and cell in LEARNING_RATE_OF_DEEP else 0.2
        weight_drop = 0.1 + 0.02 * max(excess, 0.0) + 0.05 * min(excess, 0.0)
        return cls(
            dropout=max(at_reference + 0.1 * excess, 0.0),
            weight_drop=0.0 if is_deep else max(weight_drop, 0.0),
        )

    @classmethod
    def of_subwords(cls, excess: float) -> Regularization:
        """The same for subwords: each says more than a character, and a text has fewer of them."""
        above = max(excess, 0.0)
        return cls(
            dropout=max(min(0.25 + 0.1 * excess, 0.6), 0.0),
            input_dropout=0.06 * max(above - 1, 0.0),
            embedding_dropout=0.025 * above,
            weight_drop=min(0.2 * above, 0.4),
        )


def max_epochs(characters: int, *, is_subwords: bool = False) -> int:
    """How many passes over a text of this many characters still improve the model."""
    most = MAX_EPOCHS_OF_SUBWORDS if is_subwords else MAX_EPOCHS
    return max(most, math.ceil(MIN_CHARACTERS_READ / max(characters, 1)))


def max_tokens_in_small_batches(model_vocab_size: int) -> float:
    """Up to how many tokens read in a whole run small batches do better."""
    if is_subword_vocab(model_vocab_size):
        return MAX_SUBWORDS_IN_SMALL_BATCHES
    return MAX_TOKENS_IN_SMALL_BATCHES


def choose_recipe(
    train_tokens: int,
    work: float,
    *,
    model_vocab_size: int = TYPICAL_CHARACTERS,
    cell: str = "lstm",
    epochs: int | None = None,
    characters: int | None = None,
    is_float32: bool = False,
    tokens_read: float | None = None,
    num_layers: int | None = None,
    hidden_size: int | None = None,
) -> Recipe:
    """The recipe for a text of train_tokens and an amount of work, in tokens that the reference would read.

    is_float32: the work was measured on a CPU in float32. tokens_read: how many tokens will be read whatever
    the network, as with a budget in steps; None: as many as the work allows the chosen network.
    num_layers, hidden_size: what the user gave; None is chosen, and the rest is chosen to suit.

    model_vocab_size tells characters from subwords. epochs: the most passes over the text; None: chosen for
    the text's `characters`, and if they are None too, as many as the work allows.
    """
    is_subwords = is_subword_vocab(model_vocab_size)
    network = _network(train_tokens, work, is_float32=is_float32)
    if num_layers is not None or hidden_size is not None:
        network = Network.of_size(num_layers or network.num_layers, hidden_size or network.hidden_size)
    if epochs is None and characters is not None:
        epochs = max_epochs(characters, is_subwords=is_subwords)
    read = work / network.cost if tokens_read is None else tokens_read
    times = min(read / train_tokens, math.inf if epochs is None else epochs)
    pressure = math.log2(max(times * network.parameters / train_tokens, 1))
    excess = min(pressure - REFERENCE_PRESSURE, MAX_EXCESS_PRESSURE)
    is_deep = network.num_layers > 1
    if is_subwords:
        regularization = Regularization.of_subwords(excess)
    else:
        regularization = Regularization.of_characters(excess, is_deep=is_deep, cell=cell)
    # Wide and deep networks take smaller steps. Deep ones take smaller steps the higher the pressure, because
    # they have no weight drop to keep them from memorising the text.
    width = min(1.0, REFERENCE["hidden_size"] / network.hidden_size)
    peak, beta1 = LEARNING_RATE.get(cell, LEARNING_RATE_OF_OTHERS), BETA1.get(cell, BETA1_OF_OTHERS)
    if is_deep:
        peak = LEARNING_RATE_OF_DEEP.get(cell, LEARNING_RATE_OF_OTHERS_OF_DEEP)
        peak *= 2 ** (-0.2 * max(excess, 0.0))
        beta1 = BETA1_OF_DEEP.get(cell, BETA1_OF_OTHERS)
    return Recipe(
        hidden_size=network.hidden_size,
        num_layers=network.num_layers,
        dropout=round(regularization.dropout, 2),
        input_dropout=round(regularization.input_dropout, 2),
        embedding_dropout=round(regularization.embedding_dropout, 2),
        weight_drop=round(regularization.weight_drop, 2),
        tie_weights=ties_weights(model_vocab_size, cell),
        learning_rate=_rounded(peak * width),
        beta1=beta1,
        weight_decay=WEIGHT_DECAY if cell in LEARNING_RATE else _decay_at_low_rate(excess),
        temporal_activation_penalty=TEMPORAL_ACTIVATION_PENALTY.get(cell, 0.0),
        epochs=epochs,
    )


def _decay_at_low_rate(excess: float) -> float:
    """The weight decay of a cell with the low learning rate: less where the text is read less often."""
    return _rounded(max(WEIGHT_DECAY * 2 ** (0.5 * min(excess, 0)), 0.02))


def _rounded(value: float) -> float:
    """Round to two significant digits, because people read the settings."""
    return float(f"{value:.2g}")


def _network(train_tokens: int, work: float, *, is_float32: bool) -> Network:
    """The largest network that pays off and fits the text; the smallest one if none does."""
    smallest, *others = NETWORKS
    good = [each for each in others if each.pays_off(work, is_float32=is_float32) and each.fits(train_tokens)]
    return [smallest, *good][-1]
