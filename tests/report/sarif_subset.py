"""The part of the SARIF 2.1.0 schema that our logs use, and a validator that is as strict as the schema.

Every object of the schema forbids unknown properties (but `properties`, the property bag); required
properties, enumerations and value kinds are those of the standard, sections 3.13 to 3.58.
"""

from __future__ import annotations

import re
from typing import Any

LEVELS = ("none", "note", "warning", "error")
TEXT, WHOLE, TRUTH, BAG = "text", "whole", "truth", "bag"
MESSAGE: dict[str, Any] = {"properties": {"text": TEXT, "markdown": TEXT, "id": TEXT, "arguments": [TEXT]}}
MULTIFORMAT: dict[str, Any] = {"required": ("text",), "properties": {"text": TEXT, "markdown": TEXT}}
ARTIFACT: dict[str, Any] = {"properties": {"uri": "uri", "uriBaseId": TEXT, "index": WHOLE}}
LOCATION: dict[str, Any] = {
    "properties": {
        "id": WHOLE,
        "physicalLocation": {"properties": {"artifactLocation": ARTIFACT, "region": BAG}},
        "logicalLocations": [
            {"properties": {"name": TEXT, "fullyQualifiedName": TEXT, "kind": TEXT, "index": WHOLE}}
        ],
        "message": MESSAGE,
    }
}
RULE: dict[str, Any] = {
    "required": ("id",),
    "properties": {
        "id": TEXT,
        "name": TEXT,
        "shortDescription": MULTIFORMAT,
        "fullDescription": MULTIFORMAT,
        "help": MULTIFORMAT,
        "helpUri": "uri",
        "defaultConfiguration": {"properties": {"level": LEVELS, "enabled": TRUTH}},
        "properties": BAG,
    },
}
RESULT: dict[str, Any] = {
    "required": ("message",),
    "properties": {
        "ruleId": TEXT,
        "ruleIndex": WHOLE,
        "level": LEVELS,
        "message": MESSAGE,
        "locations": [LOCATION],
        "partialFingerprints": BAG,
        "properties": BAG,
    },
}
INVOCATION: dict[str, Any] = {
    "required": ("executionSuccessful",),
    "properties": {
        "executionSuccessful": TRUTH,
        "exitCode": WHOLE,
        "toolExecutionNotifications": [
            {"required": ("message",), "properties": {"level": LEVELS, "message": MESSAGE}}
        ],
    },
}
RUN: dict[str, Any] = {
    "required": ("tool",),
    "properties": {
        "tool": {
            "required": ("driver",),
            "properties": {
                "driver": {
                    "required": ("name",),
                    "properties": {"name": TEXT, "version": TEXT, "informationUri": "uri", "rules": [RULE]},
                }
            },
        },
        "invocations": [INVOCATION],
        "results": [RESULT],
        "columnKind": ("utf16CodeUnits", "unicodeCodePoints"),
    },
}
LOG: dict[str, Any] = {
    "required": ("version", "runs"),
    "properties": {"$schema": "uri", "version": ("2.1.0",), "runs": [RUN]},
}


def problems(value: Any, rule: Any = LOG, where: str = "log") -> list[str]:
    """Return what is wrong, as sentences; empty for a valid log."""
    if isinstance(rule, dict):
        return _object_problems(value, rule, where)
    if isinstance(rule, list):
        if not isinstance(value, list):
            return [f"{where} should be an array"]
        return [each for n, item in enumerate(value) for each in problems(item, rule[0], f"{where}[{n}]")]
    if isinstance(rule, tuple):
        return [] if value in rule else [f"{where} should be one of {rule}, got {value!r}"]
    fits = {
        TEXT: lambda: isinstance(value, str),
        WHOLE: lambda: type(value) is int,
        TRUTH: lambda: isinstance(value, bool),
        BAG: lambda: isinstance(value, dict),
        "uri": lambda: (
            isinstance(value, str) and re.fullmatch(r"[!#$%&'()*+,/:;=?@\[\]\w.~-]+", value, re.ASCII)
        ),
    }
    return [] if fits[rule]() else [f"{where} should be {rule}, got {value!r}"]


def _object_problems(value: Any, rule: dict[str, Any], where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where} should be an object"]
    found = [f"{where} lacks {name}" for name in rule.get("required", ()) if name not in value]
    found += [f"{where} has no property {name}" for name in value if name not in rule["properties"]]
    for name, part in rule["properties"].items():
        if name in value:
            found += problems(value[name], part, f"{where}.{name}")
    return found
