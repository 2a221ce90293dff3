"""Rendering: terminal, tables, JSON and YAML."""
