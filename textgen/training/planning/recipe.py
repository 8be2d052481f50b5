"""The recipe: which network and which settings reach the lowest validation loss on a text within a budget.

    minutes x the reference's speed on this device = work ─→ network ─→ pressure ─→ what is dropped, decay
                                                              └─→ tokens it will read ─→ windows in a batch

Work is how many tokens the reference network would read within the budget: a larger network learns more from
each token but reads fewer, so more work pays for a larger one. Pressure is how hard the network is pressed to
learn the text by heart, by reading it again and again and by having weights enough to keep it:

    pressure = log2(epochs x parameters / tokens)

The rules were read off runs on two CPU cores with bfloat16 and, for float32 and small batches, without it: of
tiny Shakespeare (1,003,854 characters to train on), of the text that ships (0.25 M) and of source code; they
say where. On 1 MB of C headers, of which nothing but the weight drop was read off, the choice takes 2.414
bits per character after 4,800 steps, and the best of nine at equal time, two layers of 384 units, 2.399; a
higher rate (0.011) takes 2.423 and a lower one (0.0046) 2.470, 0.3 of dropout 2.437 and 0.05 2.530, one layer
of 256 units 2.471. All these are with a beta1 of 0.9, and all but the first without weight drop, where the
choice took 2.465. Rate and beta1 of today took 2.609 in two minutes of float32 (2,908 steps), those of before
2.683 (2,349 steps on a busier machine).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple

# The network whose speed, in the usual batches, tells how fast a device is.
REFERENCE = {"num_layers": 1, "hidden_size": 384}
# The first layer knows one vector of gates for each character, however wide an embedding stands between: so
# many characters are about what a text in Latin script has.
CHARACTERS = 64
# Up to so many rows the first layer can read them for about what it reads an embedding of 64 for.
FEW_ROWS = 128
MOST_CHARACTERS = 512  # with more rows they are subwords, or as many as subwords
# Sizes of an embedding that hold back neither characters nor subwords.
EMBEDDING_OF_CHARACTERS, EMBEDDING_OF_SUBWORDS = 64, 256


@dataclass(frozen=True)
class Network:
    """A size of network: what it costs, and from how much work on it pays."""

    num_layers: int
    hidden_size: int
    cost: float  # time to train on a token, as a multiple of the reference's
    least_work: float  # tokens that the reference would read
    least_work_in_float32: float | None = None  # None: the same, as far as is known

    @classmethod
    def of_size(cls, num_layers: int, hidden_size: int) -> Network:
        """One that the user said, which may be on no step of the ladder: its cost from its parameters.

        That is within a sixth of what was measured for those on it.
        """
        network = cls(num_layers, hidden_size, cost=1.0, least_work=0)
        share = network.parameters / cls(**REFERENCE, cost=1.0, least_work=0).parameters
        return dataclasses.replace(network, cost=0.35 + 0.65 * share)

    @property
    def parameters(self) -> int:
        """Those of an LSTM's layers, with a vector for each character as the first one's input weights."""
        H = self.hidden_size
        return 4 * H * (CHARACTERS + H) + (self.num_layers - 1) * 8 * H * H

    def pays(self, work: float, *, is_float32: bool) -> bool:
        """Whether so much work trains it further than a smaller one."""
        least = self.least_work_in_float32 if is_float32 else None
        return work >= (self.least_work if least is None else least)

    def suits(self, train_tokens: int) -> bool:
        """Whether so much text can fill it."""
        deep = self.num_layers > 1
        most = MOST_PARAMETERS_PER_TOKEN_OF_DEEP if deep else MOST_PARAMETERS_PER_TOKEN
        return self.parameters <= most * train_tokens


# Costs are of LSTMs in bfloat16 on two CPU cores, batch 32 x 64. In float32 width is dearer: 256 units cost
# 0.57 there. Nats per character of tiny Shakespeare in batches of 16 windows, of 256 and of 384 units: 1.516
# (1.538 another time) and 1.587 for a work of 2.4 M tokens, 1.436 and 1.429 for 8.3 M; at the rate of today,
# 384 units in batches of 32, 1.422 and 1.421 for 6.0 M. In bfloat16, one layer of 384 units and two: 1.389
# and 1.397 for 10 M, 1.365 and 1.352 for 23 M, one seed.
LADDER = (
    Network(num_layers=1, hidden_size=128, cost=0.5, least_work=0),
    Network(num_layers=1, hidden_size=256, cost=0.75, least_work=1e6),
    Network(num_layers=1, hidden_size=384, cost=1.0, least_work=3e6, least_work_in_float32=7e6),
    Network(num_layers=2, hidden_size=384, cost=2.3, least_work=18e6),
    Network(num_layers=2, hidden_size=512, cost=3.9, least_work=150e6),
    Network(num_layers=2, hidden_size=1024, cost=14.0, least_work=1e9),
)
# A little text has little to say: a wide network has learnt it by heart before anything is gained. Nats per
# character of tiny Shakespeare, two layers, dropout about 0.5: of 384 units (1.9 parameters a token) 1.391 in
# ten minutes; of 512 (3.3) in thirty minutes 1.414, or 1.398 after no more than 30 epochs.
MOST_PARAMETERS_PER_TOKEN = 6
MOST_PARAMETERS_PER_TOKEN_OF_DEEP = 3

# The pressure of the reference network on a megabyte in two minutes, where dropout 0.2, a peak rate of 7e-3
# and a decay of 0.1 were best (nats per character with a decay of 0.01, 0.05, 0.1, 0.2: 1.456, 1.438, 1.428,
# 1.445); from there on dropout changes by the octave. Sixteen times the pressure is the text that ships in
# two minutes, where dropout 0.6 was best; beyond, nothing is known.
EASE = 3.25
MOST_EXCESS = 4.0

# Read more often, a text is learnt by heart whatever the dropout, and the best weights come while the rate is
# still high. Nats per character after so many epochs, one seed:
#     the text that ships                 20: 0.989    30: 0.983    40: 0.998    56: 0.996
#     tiny Shakespeare, 0.3 MB of it      20: 1.383    35: 1.392
#     tiny Shakespeare, 0.1 MB of it      30: 1.528    60: 1.500   200: 1.510
#     Python's library, 0.3 MB of it      20: 0.647    40: 0.645
#     Python's library, 0.1 MB of it      20: 1.745    40: 1.704   200: 1.720
#     tiny Shakespeare, two layers        26: 1.391    40: 1.404
MOST_EPOCHS = 30
MOST_EPOCHS_OF_SUBWORDS = 120  # that are held by all parts of Restraint
LEAST_CHARACTERS = 3.5e6  # are read of a smaller text, in 1,700 steps: fewer do not learn what there is

# A network that will read few tokens is short of steps rather than of tokens in each: batches of 16 windows
# do better than of 32, unless they cost too many of the tokens. Two CPU cores without bfloat16, nats per
# character with batches of 32 and of 16, one seed, but for the first row:
#     units   tokens read with them   text
#     256     3.7 M, 3.0 M            tiny Shakespeare             1.540 1.537 1.546 -> 1.538 1.516 1.526
#             3.0 M, 2.8 M            Python's library             1.255 -> 1.230
#             3.4 M, 2.8 M            the text that ships          1.027 -> 1.007
#             3.6 M, 2.9 M            tiny Shakespeare, 0.1 MB     1.520 -> 1.496
#     384     6.4 M, 5.4 M            tiny Shakespeare             1.437 -> 1.429
#             6.5 M, 5.9 M            the text that ships          0.946 -> 0.943
#     128     1.8 M, 1.3 M            tiny Shakespeare             1.758 -> 1.789
#             1.5 M, 1.3 M            Python's library             1.551 -> 1.519
# In subwords, bits per character: tiny Shakespeare 2.127 -> 2.099, the text that ships 1.356 -> 1.342.
# On C headers, of which it was not read off, no difference: 2.678 -> 2.683 bits (3.2 M and 2.4 M tokens).
# Batches of 8 did no better than of 16 in the five that were tried.
MOST_TOKENS_IN_SMALL_BATCHES = 6e6  # above, no more than noise
# Subwords of tiny Shakespeare at today's rate, 256 units in float32, bits per character with 32 and with 16:
# in two minutes (5.1 M and 4.7 M read, 6 M by the probe) 2.075 -> 2.034, for 7.2 M each 2.021 -> 2.015.
MOST_SUBWORDS_IN_SMALL_BATCHES = 8e6
LEAST_SHARE_IN_SMALL_BATCHES = 0.75

# The one part that helped on every text before the others were there, and still does: without it 2.4 and 2.6%
# more bits per character of tiny Shakespeare, 3.2 and 3.4% of Python's library, 2.1 and 2.0% of the text that
# ships (scripts/ablation.py, 2,500 steps, two seeds). That is of LSTMs: a GRU, whose state is what it puts
# out, took 2 and 2.7% more bits with it (tiny Shakespeare in two minutes; the text that ships, 30 times).
TEMPORAL_ACTIVATION_PENALTY = {"lstm": 1.0}


# Peak rate and momentum of one layer, no wider than the reference. With a beta1 of 0.9 a higher rate does no
# better; with one of a half or so it does, on every text, as Melis, Dyer & Blunsom ("On the state of the art
# of evaluation in neural language models", 2018) train LSTMs with Adam without momentum. Bits per character
# fewer than with 0.9 and a rate of 0.007, in percent, one seed; steps as in two minutes of float32 (2,900 of
# 16 x 64, 256 units), and after the bar as in those of bfloat16 (4,800 of 32 x 64, 384 units):
#     beta1                     0.8     0.6     0.6     0.6     0.6     0.3   |   0.6     0.6     0.6
#     rate                      0.007   0.007   0.010   0.014   0.020   0.014 |   0.007   0.012   0.014
#     tiny Shakespeare          0.8             2.2     2.8     3.0     3.0   |   0.1             1.4
#     Python's library          0.7     1.6             1.6                   |           1.1
#     the text that ships                       3.5     4.7                   |
# With a rate of 0.007 a beta1 of 0.2, 0.5, 0.7 and 0.95 gave tiny Shakespeare 1.4, 1.7, 1.7 and -3.1%; with
# 0.9 a second moment that forgets in 20 or in 1,000 steps -0.4 and -0.5%, a linear fall of the rate -0.4%.
# With 0.5 and 0.014 seed 2 of tiny Shakespeare took 3.5% fewer bits, subwords of it 1.5% and of the text that
# ships 1.0%; half the decay cost about 0.6%. A GRU wants the momentum alone: with 0.5 and 0.007 0.8% fewer,
# with 0.6 and 0.012 1.0% more; a plain RNN neither, with 0.5 and 0.014 3.4% more.
RATE, BETA1 = {"lstm": 14e-3}, {"lstm": 0.5, "gru": 0.5}
RATE_OF_OTHERS, BETA1_OF_OTHERS = 7e-3, 0.9
# The decay of the matrices per unit of rate. At the low rate it was to fall where a text is read less often,
# at an LSTM's of today not. Bits per character fewer with 0.1 than with what it fell to, in percent, one
# layer of 384 units, batches of 32 x 64, seeds 1 and 2:
#                             2,500 steps, 0.06    800 steps, 0.03
#     tiny Shakespeare        0.3  0.6             1.2  0.6
#     Python's library        1.0  1.2             1.2  2.4
# On 10 MB of Python's library 1,500 steps took 3.6% fewer with 0.1 than with 0.03 (seed 1).
# With 0.2 800 steps took 0.8, 0.4, 2.7 and 2.7% fewer than with 0.03. A GRU's took 0.2% more with 0.1 on tiny
# Shakespeare and 0.9% fewer on Python's library, one seed: it keeps the fall.
WEIGHT_DECAY = 0.1
# Two layers of an LSTM gain more, and take a higher rate still; those of a GRU were not tried. Nats per
# character of tiny Shakespeare, two layers of 384 units in bfloat16, seed 1:
#     beta1                     0.9       0.5       0.5       0.5       0.5
#     rate                      0.0056    0.0056    0.0112    0.016     0.024
#     5,000 steps               1.376     1.370     1.359     1.352
#     2,100 steps                                             1.397     1.411
# On Python's library 2,100 steps with 0.5 and 0.016 took 1.7% fewer bits than with 0.9 and 0.0056.
RATE_OF_DEEP, BETA1_OF_DEEP = {"lstm": 16e-3}, {"lstm": 0.5}
RATE_OF_OTHERS_OF_DEEP = 5.6e-3


@dataclass(frozen=True)
class Recipe:
    """The settings that are chosen together."""

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
    epochs: int | None  # at most; None: as many as there is time for


def embedding_dim(
    model_vocab_size: int, hidden_size: int, cell: str = "lstm", *, is_tied: bool = False
) -> int:
    """A size for the embedding: an LSTM's of few characters is as wide as the network, for little time.

    So is one that serves as the head too, which needs no projection then. A wide one of characters can say
    no more, but learns it sooner. Nats per character after 4,800 steps of one layer of 384 units with an
    embedding of 64 and of 384, two seeds each:
        LSTM    tiny Shakespeare 1.422 1.411 -> 1.406 1.400    Python's library 1.121 1.126 -> 1.114 1.106
                the text that ships 0.991 0.992 -> 0.968 0.968
        GRU     tiny Shakespeare 1.437 -> 1.454                the text that ships 1.009 -> 1.002 (one seed)
    One of 768 did as one of 384 did (1.407), and neither a higher rate nor a lower one did better with it.
    """
    if is_tied or (cell == "lstm" and model_vocab_size <= FEW_ROWS):
        return hidden_size
    usual = EMBEDDING_OF_SUBWORDS if is_of_subwords(model_vocab_size) else EMBEDDING_OF_CHARACTERS
    return min(hidden_size, usual)


def is_of_subwords(model_vocab_size: int) -> bool:
    """Whether so many tokens are subwords, or characters of a script of thousands, which say as much."""
    return model_vocab_size > MOST_CHARACTERS


def ties_weights(model_vocab_size: int, cell: str) -> bool:
    """Whether the embedding is to be the head too.

    Not a plain RNN's: its first hidden states are large, so that its first logits would be too.
    """
    return is_of_subwords(model_vocab_size) and cell != "rnn"


class Restraint(NamedTuple):
    """What keeps a network from learning its text by heart: the shares that are dropped.

    Dropout alone held them up to a point only: small texts were at their best before the rate had fallen,
    and called for a lower rate. With weight drop they take the full rate to its end. Bits per character with
    dropout alone and a lower rate, and with the full rate and weight drop, for subwords by the rule below;
    one layer, as many steps, seed 1 (and 2), 384 units, and 256 in the last line:
        characters    the text that ships, 44 times      1.397 (1.397)    1.345 with a weight drop of 0.1
                      tiny Shakespeare, 0.3 MB, 27       1.953            1.910 with one of 0.1
                      Python's library, 1 MB, 10         1.608 (1.596)    1.584 (1.600) with one of 0.1
                      C headers, 1 MB, 11                2.465            2.414 with one of 0.1
                      tiny Shakespeare, 1 MB, 10         2.030 (2.019)    2.027 (2.030) with one of 0.1
        subwords      tiny Shakespeare, 15               2.074            2.025
                      Python's library, 15               1.650            1.595
                      the text that ships, 88            1.359            1.299
    One part at a time, from 1.360, the text that ships in subwords: input dropout of 0.3 1.315, weight drop
    of 0.5 1.333, embedding dropout of 0.2 1.348. Dropping whole characters does not help; subwords that are
    tied to the head gained 0.8% on tiny Shakespeare and 0.4% on the text that ships. A GRU gained as much by
    all of it: subwords of tiny Shakespeare 2.101 to 2.034, of the text that ships 1.371 to 1.310; characters
    of Python's library 1.675 to 1.648, but of tiny Shakespeare 2.083 to 2.095.
    """

    dropout: float
    input_dropout: float = 0.0
    embedding_dropout: float = 0.0
    weight_drop: float = 0.0

    @classmethod
    def of_characters(cls, excess: float, *, is_deep: bool, cell: str) -> Restraint:
        """For that much more pressure than EASE, in octaves; less is negative.

        Two layers drop no weights: after 4,000 steps at today's rate a share of 0.1 took 0.6% more bits of
        tiny Shakespeare and 0.3% more of Python's library. An LSTM's two, with less momentum and the
        higher rate, want less dropout than one does: in ten minutes (12.7 epochs) nats with 0.36 1.366, with
        0.26 1.353; with 0.19 after 10 epochs 1.352.
        """
        at_ease = 0.1 if is_deep and cell in RATE_OF_DEEP else 0.2
        weight_drop = 0.1 + 0.02 * max(excess, 0.0) + 0.05 * min(excess, 0.0)
        return cls(
            dropout=max(at_ease + 0.1 * excess, 0.0), weight_drop=0.0 if is_deep else max(weight_drop, 0.0)
        )

    @classmethod
    def of_subwords(cls, excess: float) -> Restraint:
        """The same for subwords, of which each says more and a text has fewer."""
        strain = max(excess, 0.0)
        return cls(
            dropout=max(min(0.25 + 0.1 * excess, 0.6), 0.0),
            input_dropout=0.06 * max(strain - 1, 0.0),
            embedding_dropout=0.025 * strain,
            weight_drop=min(0.2 * strain, 0.4),
        )


def most_epochs(characters: int, *, is_subwords: bool = False) -> int:
    """How often it pays to read a text of so many characters."""
    most = MOST_EPOCHS_OF_SUBWORDS if is_subwords else MOST_EPOCHS
    return max(most, math.ceil(LEAST_CHARACTERS / max(characters, 1)))


def most_tokens_in_small_batches(model_vocab_size: int) -> float:
    """Of how many tokens read, of so many different ones, small batches do better."""
    return (
        MOST_SUBWORDS_IN_SMALL_BATCHES if is_of_subwords(model_vocab_size) else MOST_TOKENS_IN_SMALL_BATCHES
    )


def choose_recipe(
    train_tokens: int,
    work: float,
    *,
    model_vocab_size: int = CHARACTERS,
    cell: str = "lstm",
    epochs: int | None = None,
    characters: int | None = None,
    is_float32: bool = False,
    tokens_read: float | None = None,
    num_layers: int | None = None,
    hidden_size: int | None = None,
) -> Recipe:
    """The recipe for so many tokens of text and so much work, in tokens that the reference would read.

    is_float32 says that it was measured on a CPU, in float32. tokens_read is how many will be read whatever
    the network, as a budget in steps says; None: as many as the work allows the one that is chosen.
    num_layers and hidden_size are what the user said of the network, None what is to be chosen: the rest is
    chosen for it.

    model_vocab_size, how many different tokens, tells characters from subwords. epochs is how often the
    text may be read, as far as the work goes; None chooses that for a text of so many characters, and where
    they are None too it is read as often as the work goes.
    """
    is_subwords = is_of_subwords(model_vocab_size)
    network = _network(train_tokens, work, is_float32=is_float32)
    if num_layers is not None or hidden_size is not None:
        network = Network.of_size(num_layers or network.num_layers, hidden_size or network.hidden_size)
    if epochs is None and characters is not None:
        epochs = most_epochs(characters, is_subwords=is_subwords)
    read = work / network.cost if tokens_read is None else tokens_read
    times = min(read / train_tokens, math.inf if epochs is None else epochs)
    pressure = math.log2(max(times * network.parameters / train_tokens, 1))
    excess = min(pressure - EASE, MOST_EXCESS)
    is_deep = network.num_layers > 1
    if is_subwords:
        restraint = Restraint.of_subwords(excess)
    else:
        restraint = Restraint.of_characters(excess, is_deep=is_deep, cell=cell)
    # Wide and deep networks take smaller steps; deep ones the smaller, the more they are pressed: without
    # weight drop they are to stop short of learning by heart.
    width = min(1.0, REFERENCE["hidden_size"] / network.hidden_size)
    peak, beta1 = RATE.get(cell, RATE_OF_OTHERS), BETA1.get(cell, BETA1_OF_OTHERS)
    if is_deep:
        peak = RATE_OF_DEEP.get(cell, RATE_OF_OTHERS_OF_DEEP) * 2 ** (-0.2 * max(excess, 0.0))
        beta1 = BETA1_OF_DEEP.get(cell, BETA1_OF_OTHERS)
    return Recipe(
        hidden_size=network.hidden_size,
        num_layers=network.num_layers,
        dropout=round(restraint.dropout, 2),
        input_dropout=round(restraint.input_dropout, 2),
        embedding_dropout=round(restraint.embedding_dropout, 2),
        weight_drop=round(restraint.weight_drop, 2),
        tie_weights=ties_weights(model_vocab_size, cell),
        learning_rate=_rounded(peak * width),
        beta1=beta1,
        weight_decay=WEIGHT_DECAY if cell in RATE else _decay_at_low_rate(excess),
        temporal_activation_penalty=TEMPORAL_ACTIVATION_PENALTY.get(cell, 0.0),
        epochs=epochs,
    )


def _decay_at_low_rate(excess: float) -> float:
    """Less where the text is read less often."""
    return _rounded(max(WEIGHT_DECAY * 2 ** (0.5 * min(excess, 0)), 0.02))


def _rounded(value: float) -> float:
    """To two digits: settings are read by people."""
    return float(f"{value:.2g}")


def _network(train_tokens: int, work: float, *, is_float32: bool) -> Network:
    """The largest network that pays and that the text can fill; the smallest one always may be."""
    smallest, *others = LADDER
    paying = [each for each in others if each.pays(work, is_float32=is_float32) and each.suits(train_tokens)]
    return [smallest, *paying][-1]
