"""The language model: tokens in, logits for the next token out.

Shapes: B batch, T time, V vocabulary, E embedding_dim, H hidden_size, L num_layers.
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
from textgen.run import load_model, save_model
from textgen.settings.config import ModelConfig
from textgen.text.model_vocab import ModelVocab


class LanguageModel(nn.Module):
    """Embedding, recurrent stack and head: forward(tokens, state) -> (logits, state).

    With tie_weights the head is the embedding's table; where H is not E, a projection comes before it (Press
    & Wolf, "Using the output embedding to improve language models", 2017; Inan, Khosravi & Socher, "Tying
    word vectors and word classifiers", 2017).

    It reads model ids: 0..V-1 for the tokens that training saw, and V for any other. `vocab` maps token ids
    to them and has each one's count in training; None: model id and token id are the same, all equally
    frequent. Weights are drawn from torch's global generator.

    `compute_dtype` is the type of the arithmetic and of logits and state; the weights keep their own, and so
    do their gradients. torch.bfloat16 is faster where the processor has it.

    Raises ConfigError when rows and config disagree.
    """

    token_ids: Tensor  # (V,) int64, the token id of each row
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
        self.config = config
        self.compute_dtype = torch.float32
        self.register_buffer("token_ids", torch.from_numpy(vocab.token_ids.astype(np.int64)))
        self.register_buffer("token_counts", torch.from_numpy(vocab.counts.astype(np.int64)))
        self.embedding = nn.Embedding(config.model_vocab_size, config.embedding_dim)
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
        if config.projects_to_tied_head:
            self.projection = nn.Linear(config.hidden_size, config.embedding_dim, bias=False)
        columns = config.embedding_dim if config.tie_weights else config.hidden_size
        self.head = nn.Linear(columns, config.model_vocab_size)
        if config.tie_weights:
            # An embedding starts well with numbers around 1, a head, whose logits should be near 0, around
            # embedding_dim**-0.5. One table for both starts at their geometric mean, but not under outputs of
            # layer norm, which are around 1 where hidden states are well below.
            exponent = -0.5 if config.layer_norm else -0.25
            nn.init.normal_(self.embedding.weight, std=config.embedding_dim**exponent)
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Read tokens (B, T) int64 rows from state, (L, B, H) per part; None is the zero state.

        Returns the logits of each next token (B, T, V) and the state after the last, both in compute_dtype.
        In eval mode the row V stands for a token that training never saw. Nothing given is changed.

        Raises IndexError for a row out of range, ValueError when the state does not fit.
        """
        outputs, state = self.read(tokens, state)  # (B, T, H)
        return self.logits(self.dropout(outputs)), state  # (B, T, V)

    def read(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Embedding and stack alone: the outputs of the last layer (B, T, H), no dropout on them yet, and the
        state after the last; arguments and errors as of `forward`.
        """
        if self._reads_rows(tokens):
            x = self._one_hot(tokens.t()).to(self.compute_dtype).transpose(0, 1)  # (B, T, V)
            outputs, state = self.layers(x, state, self._table())
        else:
            outputs, state = self.layers(self.input_dropout(self.embed(tokens)), state)
        return outputs, state

    def _reads_rows(self, tokens: Tensor) -> bool:
        """Whether the stack reads tokens as rows of the table, rather than each as its embedding.

        The first layer's product with every row, made once, and the choice of a row for every token are then
        less work than a product for every token. A vocabulary of characters has fewer rows than an embedding
        numbers, so that a wide embedding costs a small one's time.
        """
        V, E, count = self.config.model_vocab_size, self.config.embedding_dim, tokens.numel()
        # One mask for each text keeps the texts from sharing a product.
        return not self.input_dropout.acts and tokens.device.type == "cpu" and count * (E - V) > V * E

    def _one_hot(self, tokens: Tensor) -> Tensor:
        """(T, B) -> (T, B, V): 1 at the token's row; the frequencies of all rows for an unseen one."""
        choices = torch.eye(self.config.model_vocab_size).to(self.embedding.weight)
        if not self.training:
            choices = torch.cat([choices, self._frequencies(choices).unsqueeze(0)])
        return embedding(tokens, choices)

    def _table(self) -> Tensor:
        """The embedding's table (V, E), whole rows of it dropped in training."""
        table = self.embedding.weight
        dropped: Tensor = self.embedding_dropout(table, torch.arange(len(table)), len(table))
        return dropped

    def embed(self, tokens: Tensor) -> Tensor:
        """What the first layer reads, no dropout between yet: (B, T) rows -> (B, T, E) in compute_dtype.

        Raises IndexError for a row out of range.
        """
        # In memory time comes first throughout, as in the recurrent layers, so that nothing is rearranged.
        return self._embed(tokens.t()).to(self.compute_dtype).transpose(0, 1)

    def logits(self, outputs: Tensor) -> Tensor:
        """The head alone: (B, T, H) -> (B, T, V)."""
        x = outputs.transpose(0, 1)  # (T, B, H)
        if self.projection is not None:
            x = linear(x, self.projection.weight.to(x.dtype))  # (T, B, E)
        weight, bias = self.head.weight.to(x.dtype), self.head.bias.to(x.dtype)  # (V, H or E), (V,)
        return linear(x, weight, bias).transpose(0, 1)

    def _embed(self, tokens: Tensor) -> Tensor:
        """(T, B) -> (T, B, E)."""
        table = self.embedding.weight  # (V, E)
        if self.training:
            # Every training token has a row, so the mean below is not paid for in each step.
            embedded: Tensor = self.embedding_dropout(embedding(tokens, table), tokens, len(table))
            return embedded
        unseen = tokens == self.config.model_vocab_size
        seen = embedding(tokens.masked_fill(unseen, 0), table)
        return torch.where(unseen.unsqueeze(-1), self._mean_row(table), seen)

    def _mean_row(self, table: Tensor) -> Tensor:
        """The mean of a table's rows weighted by their frequency in training. (V, ...) -> (...)"""
        return self._frequencies(table) @ table

    def _frequencies(self, like: Tensor) -> Tensor:
        """How frequent each row was in training, as a share. (V,)"""
        return self.token_counts.to(like.dtype) / self.token_counts.sum()

    def zero_state(self, batch_size: int) -> State:
        """The state before anything is read: zeros (L, B, H) per part."""
        return self.layers.zero_state(batch_size, self.compute_dtype)

    @property
    def vocab(self) -> ModelVocab:
        """Which token id each row stands for, and how often training saw it."""
        return ModelVocab(self.token_ids.cpu().numpy(), self.token_counts.cpu().numpy())

    @property
    def num_parameters(self) -> int:
        """How many numbers training learns: all weights and biases, tied ones once; no ids, no counts."""
        return sum(parameter.numel() for parameter in self.parameters())

    def with_vocab(self, vocab: ModelVocab) -> LanguageModel:
        """A model for more rows, to go on training on new text: this model's rows first, with its weights.

        New rows of embedding and head start at the mean of the present ones, weighted by frequency: the
        network takes such a token as one that it knows nothing of.

        Raises ConfigError when rows do not begin with this model's.
        """
        old = self.config.model_vocab_size
        if not np.array_equal(vocab.token_ids[:old], self.vocab.token_ids):
            raise ConfigError(f"the rows to extend to do not begin with the model's own {old}")
        model = LanguageModel(dataclasses.replace(self.config, model_vocab_size=vocab.size), vocab)
        weights = {name: tensor.detach().clone() for name, tensor in self.state_dict().items()}
        for name in ("embedding.weight", "head.weight", "head.bias"):
            mean = self._mean_row(weights[name]).expand(vocab.size - old, *weights[name].shape[1:])
            weights[name] = torch.cat([weights[name], mean])
        weights |= {name: getattr(model, name) for name in ("token_ids", "token_counts")}
        model.to(self.head.weight).load_state_dict(weights)
        model.compute_dtype = self.compute_dtype
        return model.train(self.training)

    def weights(self) -> dict[str, np.ndarray]:
        """A copy of the state dict as arrays: weights in float32, tied ones once; rows in int64."""
        state_dict = self.state_dict()
        if self.config.tie_weights:
            del state_dict["head.weight"]
        return {
            name: (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy().copy()
            for name, tensor in state_dict.items()
        }

    def load_weights(self, arrays: Mapping[str, np.ndarray], where: str) -> None:
        """Take over what `weights` gave, all or nothing. `where` names the source in errors.

        Raises RunError when names or shapes are not exactly this model's.
        """
        expected = {name: tensor.shape for name, tensor in self.state_dict().items()}
        if self.config.tie_weights:
            del expected["head.weight"]
        problems = [f"{name} is missing" for name in expected.keys() - arrays.keys()]
        problems += [f"{name} is unknown" for name in arrays.keys() - expected.keys()]
        problems += [
            f"{name} has shape {arrays[name].shape}, not {tuple(shape)}"
            for name, shape in expected.items()
            if name in arrays and arrays[name].shape != shape
        ]
        if problems:
            raise RunError(f"{where}: not the weights of this model: {'; '.join(sorted(problems))}")
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
        # Not strict, for tied weights come once; the names are checked above.
        self.load_state_dict(tensors, strict=False)

    def save_pretrained(self, directory: Path | str) -> None:
        """Write the model alone, without tokenizer or run: config.json and model.safetensors."""
        save_model(Path(directory), self.config, self.weights())

    @classmethod
    def from_pretrained(cls, run_directory: Path | str) -> LanguageModel:
        """The network of a run, with its best weights, or of what save_pretrained wrote; in eval mode.

        Raises RunError or ConfigError when the directory does not hold one.
        """
        config, arrays = load_model(Path(run_directory))
        model = cls(config)
        model.load_weights(arrays, str(run_directory))
        return model.eval()
