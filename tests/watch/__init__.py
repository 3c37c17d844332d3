"""Histories of watchers over stores that are written to, and what has to hold for every one of them."""
