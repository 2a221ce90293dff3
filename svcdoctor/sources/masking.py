"""Free text without what looks like a credential.

Messages and configuration files are written by people and programs; nobody can say what is in them. So what
looks like a secret is replaced by ``***``, rather too much than too little: credentials in URLs, what follows
words such as password or token, bearer tokens, keys in PEM, and any long run that no ordinary word or
Kubernetes name has.
"""

from __future__ import annotations

import re

MASK = "***"

_SECRET_WORD = (
    r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|api[-_]?key|access[-_]?key|private[-_]?key"
    r"|account[-_]?key|auth(?:orization)?|cookie|signature|sig)"
)
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|[^\s\"',;&]+)"

_PEM = re.compile(r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL)
_USERINFO = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://)[^\s\"'<>]*@")
_SCHEME = re.compile(rf"\b((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?\w+|bearer|basic)\s+{_VALUE}", re.I)
_ASSIGNED = re.compile(rf"([\w.-]*{_SECRET_WORD}[\w-]*[\"']?\s*(?:=|:\s|:(?=\S))\s*){_VALUE}", re.I)
_FLAG = re.compile(rf"(--?[\w-]*{_SECRET_WORD}[\w-]*\s+){_VALUE}", re.I)
_RUN = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
_PLAIN = re.compile(r"[A-Za-z0-9]{40,}")


def masked(text: str) -> str:
    """``text`` with ``***`` in the place of everything that looks like a credential."""
    if len(text) < 4:
        return text
    text = _PEM.sub(MASK, text)
    text = _USERINFO.sub(rf"\1{MASK}@", text)
    text = _SCHEME.sub(rf"\1 {MASK}", text)
    text = _ASSIGNED.sub(rf"\1{MASK}", text)
    text = _FLAG.sub(rf"\1{MASK}", text)
    return _RUN.sub(_mask_blob, text)


def _mask_blob(match: re.Match[str]) -> str:
    """A long run without a space is a blob when it mixes cases and digits, or is one long word or number."""
    run = match[0]
    mixed = any(c.isdigit() for c in run) and any(c.isupper() for c in run) and any(c.islower() for c in run)
    padded = run.endswith("=") and any(c.isupper() for c in run)
    return MASK if mixed or padded or _HEX.search(run) or _PLAIN.search(run) else run


# Corefile directives whose arguments are a credential, beyond those whose name says so.
_COREFILE_CREDENTIALS = re.compile(
    r"(?:tls|key|client|subscription|tenant|aws_access_key|credentials?|kubeconfig)$", re.I
)
_SECRET_NAME = re.compile(_SECRET_WORD, re.I)


def masked_corefile(text: str) -> str:
    """A Corefile (CoreDNS manual: Configuration) without its comments and credentials.

    What follows a directive that takes a credential (``etcd``'s ``credentials``, ``tsig``'s ``secret``, any
    ``tls``) is masked to the end of the line; ``tls_servername`` is a name and stays.
    """
    lines = []
    for line in text.splitlines():
        words = line.split()
        kept = words[: next((i for i, w in enumerate(words) if w.startswith("#")), len(words))]
        for i, word in enumerate(kept):
            sensitive = _COREFILE_CREDENTIALS.match(word) or _SECRET_NAME.search(word)
            if sensitive and "://" not in word and i + 1 < len(kept) and kept[i + 1] != "{":
                kept = [*kept[: i + 1], MASK, *(["{"] if kept[-1] == "{" else [])]
                break
        if kept or not words:
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(masked(indent + " ".join(kept)).rstrip())
    return "\n".join(lines) + "\n"
