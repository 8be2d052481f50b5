"""From text to batches of token ids: corpus, tokenizer, model vocabulary, store, batches."""
