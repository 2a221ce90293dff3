"""Whether an answer fits the package's schema. Making the validator costs more than an answer: it is made once."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from svcdoctor.report.machine import schema

_VALIDATOR = Draft202012Validator(schema())


def fits(answer: Any) -> None:
    """Raises jsonschema.ValidationError with what does not fit."""
    _VALIDATOR.validate(answer)
