"""The JSON Schema of the file, with the options of every protocol, for editors and other tools."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from bridge.config.building import NAMED, SINGLE, Adapters, target_aliases
from bridge.config.grants import Grant
from bridge.config.systems import System
from bridge.config.values import NAME


def schema(adapters: Adapters) -> dict[str, Any]:
    """JSON Schema 2020-12 of a file whose systems speak the protocols of ``adapters``.

    Cross references (a grant's system, an agent's owner) are beyond it: ``load`` checks those.
    """
    definitions: dict[str, Any] = {}
    properties: dict[str, Any] = {name: _model(model, name, definitions) for name, model in SINGLE.items()}
    for name, model in NAMED.items():
        entry = _systems(adapters, definitions) if model is System else _model(model, name, definitions)
        properties[name] = {"type": "object", "propertyNames": {"pattern": NAME}, "additionalProperties": entry}
    grant = _model(Grant, "grants", definitions)
    texts = {"type": "array", "minItems": 1, "items": {"type": "string"}}
    definitions["grants"]["properties"].update(dict.fromkeys(sorted(target_aliases(adapters)), texts))
    properties["grants"] = {"type": "array", "items": grant}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "identity-bridge configuration",
        "type": "object",
        "properties": properties,
        "required": ["bridge"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _model(model: type[BaseModel], name: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """Adds the model under ``name`` and returns the reference to it; its own sub-models are named below it."""
    own = model.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    definitions.update({f"{name}.{sub}": shape for sub, shape in own.pop("$defs", {}).items()})
    definitions[name] = own
    return {"$ref": f"#/$defs/{name}"}


def _systems(adapters: Adapters, definitions: dict[str, Any]) -> dict[str, Any]:
    """One shape per protocol: ``options`` depends on ``protocol``."""
    _model(System, "system", definitions)
    shape = definitions["system"]
    shape["properties"]["protocol"] = {"enum": sorted(adapters)}
    rules = []
    for name in sorted(adapters):
        options = _model(adapters[name].Options, f"options.{name}", definitions)
        condition = {"properties": {"protocol": {"const": name}}, "required": ["protocol"]}
        rules.append({"if": condition, "then": {"properties": {"options": options}}})
    if rules:
        shape["allOf"] = rules
    return {"$ref": "#/$defs/system"}
