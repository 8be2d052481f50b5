"""Writes text with a model of `textgen export RUN onnx`: needs onnxruntime and tokenizers, and no textgen.

python scripts/onnx_sample.py tales.onnx "Once upon a time"
"""

import sys

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

NUM_TOKENS = 300


def main(path: str, prompt: str = "", temperature: str = "0.7") -> None:
    """Print the prompt and a text that goes on from it."""
    session = onnxruntime.InferenceSession(path)
    about = session.get_modelmeta().custom_metadata_map
    tokenizer = Tokenizer.from_str(about["tokenizer"])
    layers, _, units = session.get_inputs()[1].shape
    state = {part.name: np.zeros((layers, 1, units), np.float32) for part in session.get_inputs()[1:]}
    written = tokenizer.encode(prompt, add_special_tokens=False).ids
    tokens = [int(about["start_id"]), *written] if "start_id" in about else [*written]
    random = np.random.default_rng()
    for _ in range(NUM_TOKENS):
        logits, *parts = session.run(None, {"tokens": np.array(tokens)[:, None], **state})
        state = dict(zip(state, parts, strict=True))
        weights = np.exp((logits[-1, 0] - logits[-1, 0].max()) / max(float(temperature), 1e-6))
        tokens = [int(random.choice(len(weights), p=weights / weights.sum()))]
        if tokens[0] == int(about["end_of_text_id"]):
            break
        written += tokens
    print(tokenizer.decode(written))


if __name__ == "__main__":
    main(*sys.argv[1:])
