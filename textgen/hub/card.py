"""The model card of a run: README.md of its repository, whose front matter the hub reads.

Names and texts of the run are data: they stand in code spans and fences that they cannot end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from textgen.generation.sample import Sample
from textgen.hub.repository import Repository, hub_library
from textgen.run import describe
from textgen.settings.config import RunConfig
from textgen.system.terminal import one_line, visible
from textgen.text.remote.urls import is_url

_METRICS = {"bits_per_character": "Bits per character", "nats_per_token": "Nats per token"}


def model_card(
    repository: Repository,
    config: RunConfig,
    facts: Mapping[str, Any],
    *,
    license: str,
    sample: Sample,
    command: str,
    has_ngrams: bool,
    has_picture: bool,
) -> str:
    """The text of README.md.

    config: as others may see it. facts: of the run, see Run.facts. sample: a text of the run, as `command`
    writes it. has_ngrams, has_picture: whether ngram.safetensors and loss.png are in the repository.
    """
    sections = [
        f"# {code(repository.run_name)}",
        _about(config, facts),
        "## Training",
        _training(config, facts),
        *(["![The loss during training](loss.png)"] if has_picture else []),
        "## How good it is",
        _quality(facts, has_ngrams=has_ngrams),
        *([_NGRAMS] if has_ngrams else []),
        "## A sample",
        f"The text of {code(command)}, not chosen among others:",
        fenced(sample.text, "text"),
        "## Use",
        _use(repository),
    ]
    return f"---\n{front_matter(repository, config, facts, license)}---\n\n" + "\n\n".join(sections) + "\n"


def front_matter(repository: Repository, config: RunConfig, facts: Mapping[str, Any], license: str) -> str:
    """The YAML at the beginning of a model card, without its rules. Raises TextgenError."""
    hub = hub_library()
    results = [
        hub.EvalResult(
            task_type="text-generation",
            task_name="Text generation",
            dataset_type="text",
            dataset_name=f"{_names(config.data.corpus)} (validation text)",
            dataset_split="validation",
            metric_type=metric,
            metric_name=name,
            metric_value=round(value, 4),
        )
        for metric, name, value in _figures(facts)
    ]
    data = hub.ModelCardData(
        license=license,
        library_name="textgen",
        pipeline_tag="text-generation",
        tags=["textgen", "rnn", config.model.cell, "text-generation"],
        **({"model_name": repository.run_name, "eval_results": results} if results else {}),
    )
    return f"{data.to_yaml(line_break=chr(10))}\n"


def _figures(facts: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """Metric, its name with what was measured, and its value."""
    before = f", before rounding to {facts['weights']}" if _is_rounded(facts) else ""
    with_ngrams = facts["with_ngrams"]
    alone = "" if with_ngrams is None else ", network alone"
    return [
        (metric, f"{name}{what}{before}", figures[metric])
        for figures, what in ((facts["best"], alone), (with_ngrams, ", with n-grams"))
        if figures is not None
        for metric, name in _METRICS.items()
        if metric in figures
    ]


def code(text: str) -> str:
    """A text as a code span, in one line."""
    text = one_line(text)
    ticks = "`" * (_longest_run(text, "`") + 1)
    pad = " " if text[:1] in ("`", " ", "") or text[-1:] in ("`", " ", "") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def fenced(text: str, language: str) -> str:
    """A text as a code block that nothing in it can end; control characters become visible."""
    fence = "`" * max(3, _longest_run(text, "`") + 1)
    return f"{fence}{language}\n{visible(text)}\n{fence}"


def _longest_run(text: str, character: str) -> int:
    return max(map(len, re.findall(f"{character}+", text)), default=0)


def _names(corpus: tuple[str, ...]) -> str:
    shown = [one_line(name) for name in corpus[:3]]
    more = f" and {len(corpus) - 3:,} more" if len(corpus) > 3 else ""
    return ", ".join("standard input" if name == "-" else name for name in shown) + more


def _about(config: RunConfig, facts: Mapping[str, Any]) -> str:
    model = config.model
    kind = {"char": "characters", "byte": "bytes", "bpe": "bpe subwords", "word": "words"}.get(
        config.data.tokenizer, "tokens of a tokenizer.json"
    )
    layers = f"{model.num_layers} layer{'s' * (model.num_layers != 1)} of {model.hidden_size:,} units"
    weights = f", weights rounded to {facts['weights']}" if _is_rounded(facts) else ""
    return (
        f"A recurrent language model ({model.cell.upper()}, {layers}, {facts['parameters']:,} parameters"
        f"{weights}) that reads and writes {kind}. It was trained with textgen {config.textgen_version}."
    )


def _training(config: RunConfig, facts: Mapping[str, Any]) -> str:
    corpus = ", ".join("standard input" if name == "-" else code(name) for name in config.data.corpus)
    lines = [
        f"- Text: {corpus}; {facts['train_characters']:,} characters to train on",
        f"- Vocabulary: {facts['vocab_size']:,} distinct tokens",
        f"- Settings: {code(describe(config))}",
        f"- {facts['steps']:,} steps in {facts['seconds']:.0f} s",
    ]
    if config.from_run is not None:
        lines.append(f"- Started from the weights of {code(config.from_run)}")
    lines += [
        f"- {code(text)} had the SHA-256 {code(str(entry['sha256']))}" for text, entry in _fetched(config)
    ]
    return "\n".join(lines)


def _fetched(config: RunConfig) -> list[tuple[str, dict[str, Any]]]:
    return [(str(entry["url"]), entry) for entry in config.remote if is_url(str(entry.get("url")))]


def _is_rounded(facts: Mapping[str, Any]) -> bool:
    return bool(facts["weights"] != "float32")


def _quality(facts: Mapping[str, Any], *, has_ngrams: bool) -> str:
    best = facts["best"]
    if best is None:
        return "It was trained without validation text, so that nothing was measured."
    before = f" Measured before the weights were rounded to {facts['weights']}."
    rounding = before if _is_rounded(facts) else ""
    if "bits_per_character" not in best:
        return (
            f"{best['nats_per_token']:.4f} nats per token on part of its validation text, during training, "
            f"which was not completed.{rounding}"
        )
    return (
        f"On {best['characters']:,} characters of validation text, which training does not see, the network "
        f"alone reaches **{best['bits_per_character']:.4f} bits per character**: "
        f"{best['bits_per_byte']:.4f} bits per byte, {best['nats_per_token']:.4f} nats per token, "
        f"perplexity {best['perplexity_per_token']:.2f} per token."
        f"{_together(facts) if has_ngrams else ''}{rounding}"
    )


def _together(facts: Mapping[str, Any]) -> str:
    figures = facts["with_ngrams"]
    if figures is None:
        return " Its loss together with the n-grams below was not measured."
    return (
        f" Together with the n-grams below, which is the default, it reaches "
        f"**{figures['bits_per_character']:.4f} bits per character**, "
        f"{figures['nats_per_token']:.4f} nats per token."
    )


_NGRAMS = (
    "With the network come n-grams of its training text (ngram.safetensors), which hold pieces of that text. "
    "They are mixed with the network when it writes or scores a text, unless `--no-ngram` is given."
)


def _use(repository: Repository) -> str:
    name = str(repository)
    shell = f'textgen sample {name}\ntextgen sample {name} --prompt "Once"\ntextgen info {name}'
    python = f'import textgen\n\nmodel = textgen.load("{name}")\nprint(model.generate(seed=1).text)'
    return (
        "With textgen and its extra `hub` installed. Nothing in the repository can run code: it is JSON and "
        f"safetensors.\n\n{fenced(shell, 'sh')}\n\n{fenced(python, 'python')}"
    )
