"""Whole documents of a text are recognised, and nothing else."""

from textgen.text.documents import split_documents
from textgen.text.known_documents import KnownDocuments


def test_documents_are_known_without_the_line_ends_around_them() -> None:
    known = KnownDocuments(split_documents(["Anna\nBe", "rta\n\nCé\n"], "line"))
    for document in ("Anna", "Berta", "Cé", "\nAnna\n", "Berta\r\n"):
        assert document in known
    for document in ("Ann", "", "Anna\nBerta", "anna", " Anna"):
        assert document not in known
