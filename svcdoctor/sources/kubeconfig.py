"""Kubeconfig files, read and merged as kubectl does it.

Theory. KUBECONFIG names files in order; for every cluster, user and context, and for the current context,
the first file that says anything wins. Paths inside a file are relative to that file. Nothing is written
here, and no message shows a value out of a file, because values may be secrets.

Specification: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from svcdoctor.model.errors import SvcdoctorError

# What stands in a file's sections under an entry's name, and which of its fields are paths.
_SECTIONS = {"contexts": "context", "clusters": "cluster", "users": "user"}
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


@dataclass(frozen=True, slots=True)
class Entry:
    """A named context, cluster or user: its fields, and the file that it comes from."""

    fields: dict[str, Any]
    file: Path

    def resolved(self) -> dict[str, Any]:
        """A copy of the fields with paths made absolute. Nested values are shared with the file's document."""
        fields = dict(self.fields)
        for key in _PATHS:
            if fields.get(key):
                fields[key] = str(self.file.parent / str(fields[key]))
        plugin = fields.get("exec")
        if isinstance(plugin, dict) and os.sep in str(plugin.get("command", "")):
            fields["exec"] = plugin | {"command": str(self.file.parent / plugin["command"])}
        return fields

    def text(self, key: str) -> str:
        """The text of a field, empty where it is absent. Raises SvcdoctorError where it is no text."""
        value = self.fields.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise SvcdoctorError(f"{self.file}: {key} must be text; put it in quotes")
        return value


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """What all kubeconfig files together say. ``documents`` are the parsed files themselves."""

    documents: dict[Path, dict[str, Any]] = field(default_factory=dict)
    contexts: dict[str, Entry] = field(default_factory=dict)
    clusters: dict[str, Entry] = field(default_factory=dict)
    users: dict[str, Entry] = field(default_factory=dict)
    current_context: str = ""

    @property
    def empty(self) -> bool:
        """Whether the files say nothing about any cluster."""
        return not (self.contexts or self.clusters)

    @property
    def place(self) -> str:
        """The files, as a message names them."""
        return ", ".join(str(path) for path in self.documents) or "any kubeconfig file"

    def context(self, name: str) -> Entry:
        """The context of that name. Raises SvcdoctorError that lists near names."""
        return self._named(self.contexts, "context", name)

    def cluster(self, name: str) -> Entry:
        """The cluster of that name. Raises SvcdoctorError that lists near names."""
        return self._named(self.clusters, "cluster", name)

    def user(self, name: str) -> Entry:
        """The user of that name. Raises SvcdoctorError that lists near names."""
        return self._named(self.users, "user", name)

    def _named(self, entries: dict[str, Entry], what: str, name: str) -> Entry:
        if name in entries:
            return entries[name]
        raise SvcdoctorError(f'{what} "{name}" does not exist in {self.place}; {near(name, entries, what)}')


def near(name: str, names: Mapping[str, object], what: str) -> str:
    """The names to choose from, as the end of a message: the similar ones, or the first eight."""
    from difflib import get_close_matches

    choice = get_close_matches(name, names, n=4) or sorted(names)[:8]
    if not choice:
        return f"there is no {what} in it"
    more = "" if len(choice) == len(names) else f" (kubectl config get-{what}s lists all {len(names)})"
    return f"choose one of: {', '.join(choice)}{more}"


def read_kubeconfig(explicit: Path | None, environ: Mapping[str, str]) -> Kubeconfig:
    """The merged kubeconfig: of the file named ``explicit``, else of KUBECONFIG, else of ~/.kube/config.

    Files that KUBECONFIG names may be missing, an explicit one may not. Raises SvcdoctorError, naming the
    file, for what cannot be read or is no kubeconfig.
    """
    merged = Kubeconfig()
    current = ""
    for path in _files(explicit, environ):
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            if explicit is None:
                continue
            raise SvcdoctorError(f"--kubeconfig {path}: no such file") from None
        except OSError as e:
            raise SvcdoctorError(f"kubeconfig {path}: cannot be read: {e.strerror or e}") from None
        except UnicodeDecodeError as e:
            raise SvcdoctorError(f"kubeconfig {path}: not UTF-8 text (byte {e.start})") from None
        document = _document(path, text)
        if document is None:
            continue
        merged.documents[path] = document
        for section, value in _SECTIONS.items():
            entries: dict[str, Entry] = getattr(merged, section)
            for name, fields in _entries(path, document, section, value):
                entries.setdefault(name, Entry(fields, path))
        current = current or Entry(document, path).text("current-context")
    return Kubeconfig(merged.documents, merged.contexts, merged.clusters, merged.users, current)


def _files(explicit: Path | None, environ: Mapping[str, str]) -> list[Path]:
    if explicit is not None:
        return [explicit.absolute()]
    listed = [part for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if listed:
        return list(dict.fromkeys(Path(part).absolute() for part in listed))
    home = environ.get("HOME")
    return [(Path(home) if home else Path.home()) / ".kube" / "config"]


def _document(path: Path, text: str) -> dict[str, Any] | None:
    """The file's one document; ``None`` where the file is empty, which kubectl takes for no file."""
    # YAML is imported where it is needed: the help of the command line reads no file.
    from svcdoctor.cluster.yamldoc import load_documents

    documents = [d for d in load_documents(text, f"kubeconfig {path}") if d is not None]
    if not documents:
        return None
    if not isinstance(documents[0], dict):
        raise SvcdoctorError(f"kubeconfig {path}: not a kubeconfig: it must be a mapping with kind: Config")
    return documents[0]


def _entries(
    path: Path, document: dict[str, Any], section: str, value: str
) -> list[tuple[str, dict[str, Any]]]:
    entries = document.get(section) or []
    if not isinstance(entries, list):
        raise SvcdoctorError(f"kubeconfig {path}: {section} must be a list")
    found: list[tuple[str, dict[str, Any]]] = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise SvcdoctorError(f"kubeconfig {path}: {section}, entry {number}: it has no name")
        fields = entry.get(value) or {}
        if not isinstance(fields, dict):
            raise SvcdoctorError(f'kubeconfig {path}: {value} "{entry["name"]}" must be a mapping')
        found.append((entry["name"], fields))
    return found
