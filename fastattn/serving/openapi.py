"""The description of the interface, in OpenAPI 3.1, made of the same fields that requests are checked by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .fields import Field, of_evaluate, of_translate, pairs
from .limits import Limits

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
NUMBER = {"type": "number"}
PERHAPS = {"type": ["number", "null"]}
FLAG = {"type": "boolean"}
TSV = "text/tab-separated-values"
JSON = "application/json"

ERRORS = {
    "400": "The body is no JSON.",
    "403": "The request comes from a page of another site.",
    "408": "The body did not come in time.",
    "413": "The body, a text or a list is too large.",
    "415": "The body is of another type.",
    "421": "The Host header names another server.",
    "422": "A field is not as expected.",
    "503": "Too many texts are waiting, the answer took too long, or the server is stopping.",
}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _object(properties: dict[str, Any], optional: Sequence[str] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _request(fields: Sequence[Field]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {field.name: field.described() for field in fields},
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }


ANSWER = _object(
    {
        "text": TEXT,
        "score": {**PERHAPS, "description": "what the answers are ordered by; null for a text that is given back"},
        "log_probability": {**PERHAPS, "description": "of the whole answer"},
        "tokens": {**_list(TEXT), "description": "its symbols, without the end"},
        "token_log_probabilities": {**_list(PERHAPS), "description": "of each token, and of the end where the model ended it"},
        "ended": {**FLAG, "description": "whether the model ended it; else it was cut off"},
        "alignment": {**_list(COUNT), "description": "of each token the place in the source with the most weight, from 0"},
        "attention": {**_list(_list(NUMBER)), "description": "a row for each log probability, a column for each source token"},
    },
    optional=(
        "score",
        "log_probability",
        "tokens",
        "token_log_probabilities",
        "ended",
        "alignment",
        "attention",
    ),
)
RESULT = _object({"text": TEXT, "tokens": _list(TEXT), "unknown_symbols": _list(TEXT), "answers": _list(_ref("Answer"))})
RATES = {
    "exact_matches": COUNT,
    "exact_match": NUMBER,
    "reference_tokens": COUNT,
    "token_errors": COUNT,
    "token_error_rate": PERHAPS,
    "reference_characters": COUNT,
    "character_errors": COUNT,
    "character_error_rate": PERHAPS,
}
FIGURES = _object(
    {
        "sources": COUNT,
        "pairs": COUNT,
        **RATES,
        "first_reference": {**_object(RATES), "description": "against the first target of each source alone"},
        "by_length": _list(_object({"from": COUNT, "to": COUNT, "sources": COUNT, **RATES})),
        "intervals": {"type": "object", "description": "bounds of each rate"},
    },
    optional=("intervals",),
)
TOKEN = {"type": ["string", "null"], "description": "null where nothing stands"}
EVALUATED = _object(
    {
        "model": TEXT,
        "figures": FIGURES,
        "unknown_sources": {**COUNT, "description": "sources with symbols that the model never saw"},
        "passed_over": {**TEXT, "description": "lines that were no pairs, in words"},
        "separator": {**TEXT, "description": "what stands between two tokens of an answer"},
        "wrong": COUNT,
        "errors": _list(
            _object(
                {
                    "source": TEXT,
                    "answer": TEXT,
                    "expected": TEXT,
                    "token_errors": COUNT,
                    "aligned": {**_list(_list(TOKEN)), "description": "pairs of a token expected and a token given"},
                }
            )
        ),
        "confusions": _list(_object({"expected": TOKEN, "given": TOKEN, "count": COUNT, "source": TEXT})),
        "answers": _list(_object({"source": TEXT, "answer": TEXT, "targets": _list(TEXT), "token_errors": COUNT})),
    }
)
MODEL = _object(
    {
        "name": TEXT,
        "attention": FLAG,
        "source_tokens": TEXT,
        "target_tokens": TEXT,
        "features": {"type": ["array", "null"], "items": TEXT},
        "features_separator": TEXT,
        "separator": TEXT,
        "normalization": TEXT,
        "max_target_tokens": COUNT,
        "facts": {"type": "object", "additionalProperties": TEXT},
    }
)


def _answered(description: str, schema: dict[str, Any], kind: str = JSON) -> dict[str, Any]:
    return {"200": {"description": description, "content": {kind: {"schema": schema}}}}


def _errors(*statuses: str) -> dict[str, Any]:
    content = {JSON: {"schema": _ref("Error")}}
    return {status: {"description": ERRORS[status], "content": content} for status in statuses}


def _get(summary: str, answered: dict[str, Any], *errors: str) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": {**answered, **_errors("421", *errors)}}}


def description(limits: Limits, models: Sequence[str], version: str) -> dict[str, Any]:
    """The whole document."""
    options = of_evaluate(limits, models)
    query = [
        {"name": each.name, "in": "query", "description": each.help, "schema": {**each.schema, "default": each.default}}
        if each.default is not None
        else {"name": each.name, "in": "query", "description": each.help, "schema": dict(each.schema)}
        for each in options
    ]
    translate = {
        "summary": "The best answers to texts",
        "requestBody": {"required": True, "content": {JSON: {"schema": _ref("Translate")}}},
        "responses": {
            **_answered("Of each text what the model reads, and its answers, best first.", _ref("Translated")),
            **_errors(*ERRORS),
        },
    }
    evaluate = {
        "summary": "Pairs are translated, and the answers compared with the targets",
        "description": f"The options are fields beside the pairs, or, where the body is {TSV}, stand in the query.",
        "parameters": query,
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": _ref("Evaluate")},
                TSV: {"schema": {"type": "string", "description": "a pair a line, in the columns of the model"}},
            },
        },
        "responses": {**_answered("Figures, wrong answers, all answers.", _ref("Evaluated")), **_errors(*ERRORS)},
    }
    health = _object({"status": {"type": "string", "enum": ["ok", "stopping"]}})
    info = _object({"version": TEXT, "models": _list(_ref("Model")), "limits": {"type": "object"}})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fastattn",
            "version": version or "0",
            "description": "Trained models that turn a text into another.",
        },
        "paths": {
            "/translate": {"post": translate},
            "/evaluate": {"post": evaluate},
            "/info": _get("What is served, and what is taken", _answered("Models and limits.", info)),
            "/health": _get("Whether requests are answered", _answered("They are.", health), "503"),
            "/metrics": _get("Counts for Prometheus", _answered("Its text format.", TEXT, "text/plain")),
            "/openapi.json": _get("This description", _answered("OpenAPI 3.1.", {"type": "object"})),
        },
        "components": {
            "schemas": {
                "Translate": _request(of_translate(limits, models)),
                "Translated": _object({"model": TEXT, "results": _list(_ref("Result"))}),
                "Result": RESULT,
                "Answer": ANSWER,
                "Evaluate": _request([pairs(limits), *options]),
                "Evaluated": EVALUATED,
                "Model": MODEL,
                "Error": _object({"error": TEXT, "status": {"type": "integer"}}),
            }
        },
    }
