"""A training loop of your own, built from textgen's parts.

`textgen train` also validates, saves checkpoints, schedules the learning rate and more. This is the core of
it, to copy and change: a character-level LSTM with truncated backpropagation through time.

Examples:
    python scripts/train_loop.py
    python scripts/train_loop.py poems.txt --steps 1000
"""

from itertools import islice
from pathlib import Path

import click
import numpy as np
import torch
from torch.nn.functional import cross_entropy

from textgen import Generator, LanguageModel, ModelConfig, SampleConfig, Tokenizer
from textgen.text.batches import SequenceBatches
from textgen.text.model_vocab import ModelVocab

FAQ = Path(__file__).parents[1] / "data" / "faq.txt"


@click.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=FAQ)
@click.option("--steps", default=200, show_default=True, help="Training steps.")
def main(path: Path, steps: int) -> None:
    """Train an LSTM on the text file PATH, by default data/faq.txt, and print the loss and a sample."""
    torch.set_num_threads(1)  # one thread is enough for a small network
    torch.manual_seed(1)
    text = path.read_text(encoding="utf-8")
    tokenizer = Tokenizer.train("char", [text])
    token_ids = tokenizer.encode(text)  # (N,)
    # The model has one id for each token that occurs in the text; the batches convert token ids to these.
    vocab = ModelVocab.from_counts(np.bincount(token_ids))
    batches = SequenceBatches(token_ids, vocab, batch_size=32, seq_len=64, seed=1)
    model = LanguageModel(ModelConfig(model_vocab_size=vocab.size, embedding_dim=64, hidden_size=128), vocab)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    state = None
    for step, batch in enumerate(islice(batches, steps), 1):
        inputs, targets = torch.from_numpy(batch.inputs), torch.from_numpy(batch.targets)  # (B, T)
        logits, state = model(inputs, None if batch.starts_epoch else state)  # (B, T, V)
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        state = tuple(part.detach() for part in state)  # the next window continues from it, without gradient
        if step == 1 or step % 50 == 0:
            print(f"step {step:4}  loss {loss.item():.3f} nats/token")

    (sample,) = Generator(model, tokenizer).generate(seed=1, config=SampleConfig(max_new_tokens=200))
    print(f"\n{sample.text}")


if __name__ == "__main__":
    main()
