"""Runs become what there is to know about them."""
