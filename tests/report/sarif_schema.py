"""Validates SARIF logs by the official schema."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator, FormatChecker

SCHEMA = Path(__file__).with_name("data") / "sarif-schema-2.1.0.json"
FORMATS = FormatChecker(formats=[])


@FormatChecker.checks(FORMATS, "uri-reference")
@FormatChecker.checks(FORMATS, "uri")
def is_uri_text(value: object) -> bool:
    """Only characters that RFC 3986 allows, each percent sign before two hexadecimal digits."""
    return not isinstance(value, str) or bool(
        re.fullmatch(r"(?:[!#$&'()*+,/:;=?@\[\]\w.~-]|%[0-9A-Fa-f]{2})*", value, re.ASCII)
    )


def problems(log: Any) -> list[str]:
    """Return what the schema finds wrong, each with its place; empty for a valid log."""
    return [f"{error.json_path}: {error.message}" for error in validator().iter_errors(log)]


@cache
def validator() -> Draft7Validator:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema, format_checker=FORMATS)
