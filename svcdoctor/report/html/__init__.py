"""Answers as pages: one file each, which needs no network, runs no foreign word and prints on paper."""
