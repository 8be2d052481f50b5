"""HTML pages: the parts that they share, and how a page is assembled into one file."""
