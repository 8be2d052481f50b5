"""From text to lanes of tokens: corpus, tokenizer, rows, store, batches."""
