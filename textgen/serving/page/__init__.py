"""The page of `textgen serve`: write with a run in the browser, token by token."""
