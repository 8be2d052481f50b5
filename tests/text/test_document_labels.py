import numpy as np

from textgen.text.document_labels import DocumentLabels


def test_a_label_stands_where_its_document_begins_and_nowhere_else():
    labels = DocumentLabels(np.array([5, 5, 9, 5, 9, 9, 5]), 9, np.array([2, 0, 1, 3], np.uint16))
    assert labels.at(np.arange(9)).tolist() == [2, 0, 0, 0, 0, 1, 3, 0, 0]
    assert labels.at(np.array([[0, -1], [6, 5]])).tolist() == [[2, 0], [3, 1]]
