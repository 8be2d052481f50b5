"""Opens encoded text where a corpus may be text or encoded text: a folder of `textgen encode`, or its URL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from textgen.errors import CorpusError
from textgen.text.encoded import EncodedCorpus, encoded_folder
from textgen.text.remote.encoded import open_remote_folder
from textgen.text.remote.texts import NamedText, RemoteRecord, RemoteTexts
from textgen.text.remote.urls import is_encoded_url, public_url
from textgen.text.store import TokenStore


class OpenedText(NamedTuple):
    """Encoded text that was opened.

    name: its folder, or its URL without secrets. remote: what was fetched. notes: what the user should know.
    """

    corpus: EncodedCorpus
    name: str
    remote: tuple[RemoteRecord, ...] = ()
    notes: tuple[str, ...] = ()


def open_encoded(
    corpus: Sequence[str] | None, remote: RemoteTexts, named: Mapping[str, NamedText] | None = None
) -> OpenedText | None:
    """The encoded text that a corpus is; None where it is text.

    named: those URLs that a run names and the user did not give. Raises CorpusError, also beside other texts.
    """
    urls = [name for name in corpus or () if is_encoded_url(name)]
    if not urls:
        folder = encoded_folder(corpus)
        return None if folder is None else OpenedText(TokenStore.open_encoded(folder), str(folder))
    if len(corpus or ()) > 1:
        raise CorpusError(
            f"{public_url(urls[0])}: encoded text cannot be read together with other texts; encode them too"
        )
    found = open_remote_folder(urls[0], remote, (named or {}).get(urls[0]))
    return OpenedText(TokenStore.open_remote(found), found.record.url, (found.record,), found.notes)
