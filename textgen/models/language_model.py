"""The language model: model ids in, logits for the next one out.

Shapes: B batch, T time, V model_vocab_size, E embedding_dim, H hidden_size, L num_layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from textgen.errors import ConfigError, RunError
from textgen.models.cells import State
from textgen.models.dropout import EmbeddingDropout, LockedDropout
from textgen.models.products import linear
from textgen.models.recurrent import Recurrent
from textgen.run import TOKENIZER, Run, load_model, save_model
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab
from textgen.text.tokenizer import Tokenizer
from textgen.weights.shapes import (
    EMBEDDING,
    HEAD,
    HEAD_BIAS,
    LABELS,
    PROJECTION,
    check_weights,
    weight_shapes,
)


class LanguageModel(nn.Module):
    """Embedding, recurrent stack and head: forward(model_ids, state) -> (logits, state).

    Where the config has labels, model id V + 1 + k is the start token of a document with label k: it is read
    as the start token's embedding plus the label's, and never predicted.

    With tie_weights the head is the embedding's table; where H is not E, a projection comes before it (Press
    & Wolf, "Using the output embedding to improve language models", 2017; Inan, Khosravi & Socher, "Tying
    word vectors and word classifiers", 2017).

    It reads model ids: 0..V-1 for the tokens that training saw, and V for any other. `encode` gives those of
    a text, `vocab.to_model_ids` those of a tokenizer's token ids, which are other numbers. `vocab` has each
    token's count in training too; None: model id and token id are the same, all equally frequent. Weights are
    drawn from torch's global generator.

    `tokenizer` is the run's, where the model was loaded from a run; else None, until it is set.

    `compute_dtype` is the type of the arithmetic and of logits and state; the weights keep their own, and so
    do their gradients. torch.bfloat16 is faster where the processor has it.

    Raises ConfigError when vocabulary and config disagree.
    """

    token_ids: Tensor  # (V,) int64, the token id of each model id
    token_counts: Tensor  # (V,) int64, how often training saw it

    def __init__(self, config: ModelConfig, vocab: ModelVocab | None = None) -> None:
        super().__init__()
        if vocab is None:
            vocab = ModelVocab(
                np.arange(config.model_vocab_size), np.ones(config.model_vocab_size, dtype=np.int64)
            )
        if vocab.size != config.model_vocab_size:
            raise ConfigError(
                f"model_vocab_size={config.model_vocab_size}, but the vocabulary has {vocab.size} ids"
            )
        shapes = weight_shapes(config)
        self.config = config
        self.tokenizer: Tokenizer | None = None
        self.compute_dtype = torch.float32
        self.register_buffer("token_ids", torch.from_numpy(vocab.token_ids.astype(np.int64)))
        self.register_buffer("token_counts", torch.from_numpy(vocab.counts.astype(np.int64)))
        height, width = shapes[EMBEDDING]
        self.embedding = nn.Embedding(height, width)
        self.label_embedding: nn.Embedding | None = None
        if LABELS in shapes:
            height, width = shapes[LABELS]
            self.label_embedding = nn.Embedding(height, width)
            nn.init.zeros_(self.label_embedding.weight)  # the same start for all, which training tells apart
        self.embedding_dropout = EmbeddingDropout(config.embedding_dropout)
        self.input_dropout = LockedDropout(config.input_dropout)
        self.layers = Recurrent(
            config.cell,
            config.embedding_dim,
            config.hidden_size,
            config.num_layers,
            config.dropout,
            weight_drop=config.weight_drop,
            residual=config.residual,
            layer_norm=config.layer_norm,
        )
        self.dropout = LockedDropout(config.dropout)
        self.projection: nn.Linear | None = None
        if PROJECTION in shapes:
            height, width = shapes[PROJECTION]
            self.projection = nn.Linear(width, height, bias=False)
        height, width = shapes[EMBEDDING if config.tie_weights else HEAD]
        self.head = nn.Linear(width, height)
        if config.tie_weights:
            # An embedding starts well with numbers around 1; a head, whose logits should be near 0, with
            # numbers around embedding_dim**-0.5. One table for both starts at their geometric mean, except
            # with layer norm, whose outputs are around 1 while hidden states are well below.
            exponent = -0.5 if config.layer_norm else -0.25
            nn.init.normal_(self.embedding.weight, std=config.embedding_dim**exponent)
            self.head.weight = self.embedding.weight

    def encode(self, text: str) -> Tensor:
        """The model ids of a text, (1, T) int64 where the model is: what `forward` reads.

        Raises RunError without a tokenizer, TokenizerError for a text that cannot be encoded.
        """
        if self.tokenizer is None:
            raise RunError(
                "this model has no tokenizer, because it was not loaded from a run; "
                "set model.tokenizer to the one that it was trained with"
            )
        model_ids = self.vocab.to_model_ids(self.tokenizer.encode(text))
        return torch.from_numpy(model_ids[None]).to(self.token_ids.device)

    def forward(self, model_ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read model_ids (B, T), an int64 or int32 tensor, from state, (L, B, H) per part; None is zeros.

        Returns the logits of each next model id (B, T, V) and the state after the last, both in
        compute_dtype. In eval mode the id V stands for a token that training never saw. Nothing given is
        changed.

        Raises TypeError for ids of another type, such as a tokenizer's (uint32), IndexError for an id out of
        range (on a GPU the device fails instead: a check would wait for it), and ValueError when shapes or
        state do not fit.
        """
        outputs, state = self.read(model_ids, state)  # (B, T, H)
        return self.logits(self.dropout(outputs)), state  # (B, T, V)

    def read(self, model_ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Embedding and stack alone: the outputs of the last layer (B, T, H), no dropout on them yet, and the
        state after the last; arguments and errors as of `forward`.
        """
        self._check_type(model_ids)
        if model_ids.dim() != 2:
            raise ValueError(f"model ids have shape {tuple(model_ids.shape)}; expected (batch, time)")
        if self._reads_one_hot(model_ids):
            x = self._one_hot(model_ids.t()).to(self.compute_dtype).transpose(0, 1)  # (B, T, V)
            outputs, state = self.layers(x, state, self._table())
        else:
            outputs, state = self.layers(self.input_dropout(self.embed(model_ids)), state)
        return outputs, state

    def _reads_one_hot(self, model_ids: Tensor) -> bool:
        """Whether the stack reads ids as one-hot rows, rather than each as its embedding.

        Multiplying the first layer's weights by every row of the embedding once, and picking one result per
        token, is then less work than one product per token. An embedding of characters may have fewer rows
        than columns, and then a wide one takes no more time than a narrow one.
        """
        V, E, count = self.config.model_vocab_size, self.config.embedding_dim, model_ids.numel()
        if self.label_embedding is not None:  # a label is not a row of the table
            return False
        # One mask for each text keeps the texts from sharing a product.
        return not self.input_dropout.acts and model_ids.device.type == "cpu" and count * (E - V) > V * E

    def _one_hot(self, model_ids: Tensor) -> Tensor:
        """(T, B) -> (T, B, V): 1 at each id; the frequencies of all ids for an unseen token."""
        choices = torch.eye(self.config.model_vocab_size).to(self.embedding.weight)
        if not self.training:
            choices = torch.cat([choices, self._frequencies(choices).unsqueeze(0)])
        return self._look_up(model_ids, choices)

    def _table(self) -> Tensor:
        """The embedding's table (V, E), whole rows of it dropped in training."""
        table = self.embedding.weight
        dropped: Tensor = self.embedding_dropout(table, torch.arange(len(table)), len(table))
        return dropped

    def embed(self, model_ids: Tensor) -> Tensor:
        """What the first layer reads, no dropout on it yet: (B, T) -> (B, T, E) in compute_dtype.

        Raises TypeError and IndexError as `forward`.
        """
        self._check_type(model_ids)
        # Time comes first in memory, as in the recurrent layers, so that nothing has to be rearranged.
        return self._embed(model_ids.t()).to(self.compute_dtype).transpose(0, 1)

    def logits(self, outputs: Tensor) -> Tensor:
        """The head alone: (B, T, H) -> (B, T, V)."""
        x = outputs.transpose(0, 1)  # (T, B, H)
        if self.projection is not None:
            x = linear(x, self.projection.weight.to(x.dtype))  # (T, B, E)
        weight, bias = self.head.weight.to(x.dtype), self.head.bias.to(x.dtype)  # (V, H or E), (V,)
        return linear(x, weight, bias).transpose(0, 1)

    def _embed(self, model_ids: Tensor) -> Tensor:
        """(T, B) -> (T, B, E)."""
        if self.label_embedding is None:
            return self._embed_tokens(model_ids)
        assert self.config.start_id is not None
        V = self.config.model_vocab_size
        is_label = model_ids > V
        tokens = self._embed_tokens(model_ids.masked_fill(is_label, self.config.start_id))
        labels = self._look_up((model_ids - V - 1).masked_fill(~is_label, 0), self.label_embedding.weight)
        return tokens + labels.masked_fill(~is_label.unsqueeze(-1), 0)

    def _embed_tokens(self, model_ids: Tensor) -> Tensor:
        """(T, B) -> (T, B, E), of ids up to V."""
        table = self.embedding.weight  # (V, E)
        if self.training:
            # Training reads no unseen token, so a step need not compute the mean below.
            embedded: Tensor = self.embedding_dropout(self._look_up(model_ids, table), model_ids, len(table))
            return embedded
        unseen = model_ids == self.config.model_vocab_size
        seen = self._look_up(model_ids.masked_fill(unseen, 0), table)
        return torch.where(unseen.unsqueeze(-1), self._mean_row(table), seen)

    def _look_up(self, model_ids: Tensor, table: Tensor) -> Tensor:
        """The rows of a table (V, ...) at some ids."""
        try:
            return embedding(model_ids, table)
        except IndexError:
            low, high = model_ids.min().item(), model_ids.max().item()
            raise IndexError(f"model ids from {low} to {high}: {self._expected_ids()}") from None

    def _check_type(self, model_ids: Tensor) -> None:
        # Only the type, which costs nothing: the values are checked where they are looked up.
        if not isinstance(model_ids, Tensor):
            raise TypeError(f"model ids are a {type(model_ids).__name__}: {self._expected_ids()}")
        if model_ids.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"model ids are a tensor of {model_ids.dtype}: {self._expected_ids()}")

    def _expected_ids(self) -> str:
        """Which ids the model reads, for error messages."""
        V = self.config.model_vocab_size
        unseen = "" if self.training else f" and {V} for a token that training never saw"
        return (
            f"this model reads int64 or int32 tensors of model ids, 0..{V - 1}{unseen}. "
            "model.encode gives those of a text, model.vocab.to_model_ids those of a tokenizer's ids"
        )

    def _mean_row(self, table: Tensor) -> Tensor:
        """The mean of a table's rows weighted by their ids' frequency in training. (V, ...) -> (...)"""
        return self._frequencies(table) @ table

    def _frequencies(self, like: Tensor) -> Tensor:
        """The share of each id in the training text. (V,)"""
        return self.token_counts.to(like.dtype) / self.token_counts.sum()

    def zero_state(self, batch_size: int) -> State:
        """The state before anything is read: zeros (L, B, H) per part."""
        return self.layers.zero_state(batch_size, self.compute_dtype)

    @property
    def vocab(self) -> ModelVocab:
        """Which token id each model id stands for, and how often training saw it."""
        return ModelVocab(self.token_ids.cpu().numpy(), self.token_counts.cpu().numpy())

    @property
    def num_parameters(self) -> int:
        """How many numbers training learns: all weights and biases, tied ones once; no ids, no counts."""
        return sum(parameter.numel() for parameter in self.parameters())

    def with_vocab(
        self, vocab: ModelVocab, labels: tuple[str, ...] | None = None, start_id: int | None = None
    ) -> LanguageModel:
        """A model for a larger vocabulary, to train on new text: this model's ids and weights come first.

        New rows of embedding and head start at the mean of the present ones, weighted by frequency, as an
        unseen token is read. labels, start_id: those of the config; labels begin with this model's, and the
        vectors of new ones start at zero. None keeps the labels.

        Raises ConfigError when the vocabulary does not begin with this model's.
        """
        old = self.config.model_vocab_size
        if not np.array_equal(vocab.token_ids[:old], self.vocab.token_ids):
            raise ConfigError(f"the vocabulary to extend to does not begin with the model's own {old} ids")
        config = dataclasses.replace(self.config, model_vocab_size=vocab.size)
        if labels is not None:
            assert labels[: len(config.labels)] == config.labels
            config = dataclasses.replace(config, labels=labels, start_id=start_id)
        model = LanguageModel(config, vocab)
        weights = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}
        for name in (EMBEDDING, HEAD, HEAD_BIAS):
            mean = self._mean_row(weights[name]).expand(vocab.size - old, *weights[name].shape[1:])
            weights[name] = torch.cat([weights[name], mean])
        if config.labels:
            old_labels = weights.get(LABELS, torch.zeros(0, config.embedding_dim))
            added = len(config.labels) - len(old_labels)
            weights[LABELS] = torch.cat([old_labels, old_labels.new_zeros(added, config.embedding_dim)])
        weights |= {name: getattr(model, name) for name in ("token_ids", "token_counts")}
        model.to(self.head.weight).load_state_dict(weights)
        model.compute_dtype = self.compute_dtype
        model.tokenizer = self.tokenizer
        return model.train(self.training)

    def weights(self) -> dict[str, np.ndarray]:
        """A copy of the state dict as arrays: weights in float32, tied ones once; the vocabulary in int64."""
        state_dict = self.state_dict()
        if self.config.tie_weights:
            del state_dict[HEAD]
        return {
            name: (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy().copy()
            for name, tensor in state_dict.items()
        }

    def load_weights(self, arrays: Mapping[str, np.ndarray], where: str) -> None:
        """Load what `weights` returned, all or nothing. `where` names the source in errors.

        Raises RunError when names or shapes are not exactly this model's.
        """
        check_weights(self.config, arrays, where)
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        # Not strict, because tied weights come once; the names are checked above.
        self.load_state_dict(tensors, strict=False)

    def save_pretrained(self, directory: Path | str) -> None:
        """Write the model alone, without tokenizer or run: config.json and model.safetensors."""
        save_model(Path(directory), self.config, self.weights())

    @classmethod
    def from_pretrained(cls, run_directory: Path | str) -> LanguageModel:
        """The network of a run, with its best weights and its tokenizer, or what save_pretrained wrote.

        It is in eval mode. Raises RunError, ConfigError or TokenizerError when the directory does not hold
        one.
        """
        config, arrays = load_model(Path(run_directory))
        model = cls(config)
        model.load_weights(arrays, str(run_directory))
        if (Path(run_directory) / TOKENIZER).is_file():
            model.tokenizer = Run(run_directory).tokenizer
            model.vocab.require(model.tokenizer.vocab_size)
        return model.eval()
