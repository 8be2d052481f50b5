"""Makes the plan of a sharded store (shard_plan.py) in one reading of the text."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from textgen.settings.config import SHARD_CHARACTERS
from textgen.text.corpus import Corpus
from textgen.text.documents import Meter, Separator
from textgen.text.encoding import Progress
from textgen.text.portions import Chosen, HashRule, Portion, Ranges
from textgen.text.restarts import RestartableSource
from textgen.text.shard_plan import Piece, Plan, Reading, ShardText
from textgen.text.sources import Source
from textgen.text.tokenizer import Tokenizer

_RESTARTS_PER_SHARD = 16  # so that finding the beginning of a shard takes little of the time to make it
_LARGEST_GAP = 2**20  # characters between two documents of a piece that belong to no part
_BOUNDARY = Separator(0, 0, line_ends=0)
SEPARATOR = b"\xff"  # in the digest of a shard's text; no UTF-8 has this byte


class _Span(NamedTuple):
    """Some text of a part: its number, and where it is.

    separator: before the document that begins with it; None: it continues the one before it.
    """

    source: int
    position: int
    text: str
    part: int
    separator: Separator | None


@dataclass
class _Run:
    """Text of a source from start to stop; `begins` and `ends` as in Piece."""

    source: int
    start: int
    stop: int
    begins: bool
    ends: tuple[int, int]


def make_plan(
    corpus: Corpus,
    tokenizer: Tokenizer,
    data: Mapping[str, Any],
    *,
    request: str = "",
    labels: Sequence[str] = (),
    shard_characters: int = SHARD_CHARACTERS,
    progress: Progress | None = None,
) -> Plan:
    """Read a corpus and say which text each shard holds: about so many characters, but whole chunks.

    data: settings to be kept with the encoded text. request: a digest of what the user asked for. labels:
    those that are stored.

    Raises CorpusError for text that cannot be read or changes while it is read.
    """
    together = ("train", "val") if corpus.interleaved is not None else ()
    groups = [together, *((part,) for part in corpus.parts if part not in together)]
    planner = _Planner(corpus, tokenizer, shard_characters, progress)
    shards = [shard for group in groups if group for shard in planner.shards(group)]
    corpus.require_unchanged()
    first = planner.sources[0].source
    names = "documents", "field", "encoding", "delimiter", "label_field", "normalize"
    return Plan(
        corpus=corpus.fingerprint,
        tokenizer_json=tokenizer.to_json(),
        reading=Reading(**{name: getattr(first, name) for name in names}),
        rules=planner.rules,
        labels=tuple(labels),
        sizes={part: planner.sizes[part].size for part in corpus.parts},
        records=dataclasses.replace(corpus.record_count, names={}),
        held_out_characters=corpus.held_out_characters,
        is_collection=corpus.has_exchangeable_documents,
        request=request,
        shard_characters=shard_characters,
        data=data,
        shards=tuple(shards),
    )


class _Planner:
    """Cuts the text of one group of parts after another into shards."""

    def __init__(
        self,
        corpus: Corpus,
        tokenizer: Tokenizer,
        shard_characters: int,
        progress: Progress | None,
    ) -> None:
        self._corpus, self._tokenizer = corpus, tokenizer
        self.sources = list[RestartableSource]()
        self._shard_characters, self._progress = shard_characters, progress
        self.sizes = {part: Meter() for part in corpus.parts}
        self.rules = dict[str, HashRule]()

    def shards(self, group: Sequence[str]) -> Iterator[ShardText]:
        """The shards of parts that are read together."""
        portions = list(zip(*(self._corpus.portions(part) for part in group), strict=True))
        rule = next((portion.rule for *_, portion in portions if isinstance(portion, Chosen)), None)
        if rule is not None:
            self.rules[group[-1]] = rule
        sources = [self._source(portion.source) for portion, *_ in portions]
        spans = self._metered(_spans(sources, portions), [self.sizes[part] for part in group])
        return _Cutter(group, sources, self._shard_characters, rule is not None).shards(
            self._reported(spans, group), self._tokenizer
        )

    def _source(self, source: Source) -> RestartableSource:
        for known in self.sources:
            if known.source is source:
                return known
        every = max(1, self._shard_characters // _RESTARTS_PER_SHARD)
        self.sources.append(RestartableSource(source, every))
        return self.sources[-1]

    def _metered(self, spans: Iterable[_Span], meters: Sequence[Meter]) -> Iterator[_Span]:
        """Measure each part as though it was read alone: no separator of another part's document counts."""
        source, begun = -1, set[int]()
        for span in spans:
            if span.source != source:
                source, begun = span.source, set()
            meter = meters[span.part]
            if span.separator is not None and meter.size.documents:
                meter.add(span.separator if span.part in begun else _BOUNDARY)
            begun.add(span.part)
            meter.add(span.text)
            yield span

    def _reported(self, spans: Iterable[_Span], group: Sequence[str]) -> Iterator[_Span]:
        total, done, reported = sum(map(self._corpus.characters, group)), 0, 0
        for span in spans:
            yield span
            done += len(span.text)
            if self._progress is not None and total / 100 < done - reported and done < total:
                self._progress("planning", done, total)
                reported = done
        if self._progress is not None:
            self._progress("planning", total, total)


def _spans(sources: Sequence[RestartableSource], portions: Sequence[tuple[Portion, ...]]) -> Iterator[_Span]:
    for number, (source, of_parts) in enumerate(zip(sources, portions, strict=True)):
        first = of_parts[0]
        if isinstance(first, Ranges):
            yield from _spans_of_ranges(number, source, first)
        else:
            yield from _spans_of_chosen(number, source, [cast(Chosen, portion) for portion in of_parts])


def _spans_of_ranges(number: int, source: RestartableSource, portion: Ranges) -> Iterator[_Span]:
    """As stream_ranges of the source, with positions."""
    ranges = deque(portion.ranges)
    separator: Separator | None = _BOUNDARY
    started = False
    for position, item in source.stream(ranges[0][0]):
        if isinstance(item, Separator):
            separator = item if started else separator
            continue
        end = position + len(item)
        while ranges and ranges[0][0] < end:
            start, stop = ranges[0]
            begin = max(start, position)
            if text := item[begin - position : None if stop is None else max(0, stop - position)]:
                yield _Span(number, begin, text, 0, separator)
                separator, started = None, True
            if stop is None or stop > end:
                break
            ranges.popleft()
        if not ranges:
            return


def _spans_of_chosen(number: int, source: RestartableSource, portions: Sequence[Chosen]) -> Iterator[_Span]:
    """The documents that any of the portions choose; the part is the number of the portion."""
    parts = _part_numbers(portions)
    part, separator = next(parts, len(portions)), cast(Separator | None, _BOUNDARY)
    for position, item in source.stream(0):
        if isinstance(item, Separator):
            part, separator = next(parts), item
        elif part < len(portions):
            yield _Span(number, position, item, part, separator)
            separator = None


def _part_numbers(portions: Sequence[Chosen]) -> Iterator[int]:
    """For each document of a source the number of the portion that has it; one more where none has."""
    for blocks in zip(*(portion.blocks for portion in portions), strict=True):
        flags = [np.unpackbits(block).astype(bool) for block in blocks]
        yield from np.select(flags, range(len(flags)), len(flags)).tolist()


class _Cutter:
    """Cuts text into shards where the tokenizer may cut it.

    The tokenizer's chunks come later than the spans that they are made of, which wait until then.
    """

    def __init__(
        self, parts: Sequence[str], sources: Sequence[RestartableSource], size: int, may_skip: bool
    ) -> None:
        self._parts, self._sources, self._size = tuple(parts), sources, size
        self._gap = _LARGEST_GAP if may_skip else 0
        self._waiting = deque[_Span]()
        self._begun = [False] * len(parts)
        self._start()

    def _start(self) -> None:
        self._begun_before = tuple(self._begun)
        self._runs = list[_Run]()
        self._characters = 0
        self._digest = hashlib.sha256()

    def shards(self, spans: Iterable[_Span], tokenizer: Tokenizer) -> Iterator[ShardText]:
        """The shards, each when its text has been read."""
        for chunk in tokenizer.chunks(self._stream(spans)):
            if isinstance(chunk, Separator):
                continue
            if self._characters >= self._size:
                yield self._shard()
            if self._waiting[0].separator is not None and self._characters:
                self._digest.update(SEPARATOR)
            self._digest.update(chunk.encode())
            self._take(len(chunk))
        if self._characters:
            yield self._shard()

    def _stream(self, spans: Iterable[_Span]) -> Iterator[str | Separator]:
        """The text of all spans, which wait from then on."""
        started = False
        for span in spans:
            if span.separator is not None and started:
                yield span.separator
            started = True
            self._waiting.append(span)
            yield span.text

    def _take(self, characters: int) -> None:
        """Add so many waiting characters to the shard."""
        self._characters += characters
        while characters:
            span = self._waiting.popleft()
            if len(span.text) > characters:
                rest = span.position + characters
                self._waiting.appendleft(_Span(span.source, rest, span.text[characters:], span.part, None))
                span = span._replace(text=span.text[:characters])
            characters -= len(span.text)
            self._add(span)
            self._begun[span.part] = True

    def _add(self, span: _Span) -> None:
        stop = span.position + len(span.text)
        if self._runs:
            last = self._runs[-1]
            if last.source == span.source and 0 <= span.position - last.stop <= self._gap:
                last.stop, last.ends = stop, (last.ends[0], span.part)
                return
        begins = span.separator is not None
        self._runs.append(_Run(span.source, span.position, stop, begins, (span.part, span.part)))

    def _shard(self) -> ShardText:
        pieces = tuple(self._piece(run) for run in self._runs)
        shard = ShardText(self._parts, self._begun_before, pieces, self._characters, self._digest.hexdigest())
        self._start()
        return shard

    def _piece(self, run: _Run) -> Piece:
        source = self._sources[run.source]
        begin, last = source.before(run.start), source.file_of(run.stop - 1)
        files = source.source.files[begin.file : last + 1]
        named = tuple((str(Path(file.path).absolute()), file.name, file.is_text) for file in files)
        start = run.start - begin.position
        return Piece(named, begin.place, start, run.stop - run.start, run.begins, run.ends)
