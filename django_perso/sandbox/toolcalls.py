"""How the scripted model uses tools.

It chooses a tool by the visitor's words and finds the arguments in them. Tools have the
form in which browsers send them: `{"function": {"name", "description", "parameters"}}`.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

Tool = dict[str, Any]

# Words that do not help to choose a tool.
WEAK_WORDS = """
a about an and any are as at by call can current do fetch find for from get give has
have how i if in is it its let like make me my not now number of on one only open or
page please return run set show some tell that the this to today tool use user value
visitor want what when will with would you your
"""
WEAK = frozenset(WEAK_WORDS.split())
NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve"
NUMBERS = {word: number for number, word in enumerate(NUMBER_WORDS.split())}
NUMBER = re.compile(
    r"-?\d+(?:\.\d+)?|\b(?:" + "|".join(NUMBERS) + r")\b", re.IGNORECASE
)
QUOTED = re.compile(r"[\"“](.+?)[\"”]")
PHRASE = re.compile(
    r"\b(?:in|at|near|for|of|to|from|about|called|named|with|saying)\s+(?:the\s+)?"
    r"(\S[^,.?!;]*?)"
    r"(?=\s+(?:in|at|for|to|with|and|please|today|now|tomorrow|right)\b|[,.?!;]|\s*$)",
    re.IGNORECASE,
)
# The tokens of get_square_number, square and the like.
SQUARES = {"squar"}
# One word of a tool's name is enough to choose it.
MIN_SCORE = 3
NEGATION = re.compile(r"\b(no|not|don't|off|without|disable)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Call:
    """A call of a tool."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Question:
    """A question that must be answered before a tool can be called."""

    text: str


def choose(words: str, tools: list[Tool]) -> Call | Question | None:
    """Return the call the words ask for, or None if they do not ask for a tool.

    If a required argument is missing, return the question for it.
    """
    heard = tokens(words)
    if not tools:
        return None
    best = max(tools, key=lambda tool: _score(heard, tool))
    if _score(heard, best) < MIN_SCORE:
        return None
    function = best["function"]
    arguments, missing = _fill(words, function.get("parameters") or {})
    if missing:
        return Question(f"Which {missing.replace('_', ' ')} do you mean?")
    return Call(function["name"], arguments)


def names_of(tools: list[Tool]) -> list[str]:
    """Return the names of tools."""
    names = (_name(tool) for tool in tools)
    return [name for name in names if name is not None]


def _name(tool: Tool) -> str | None:
    """Return the name of a tool, or None for one that is not valid."""
    function = tool.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def tokens(text: str) -> set[str]:
    """Return the stems of the important words of a text, or of a name in any case."""
    separated = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    words = {word for word in re.findall(r"[^\W_]+", separated) if word not in WEAK}
    return {re.sub(r"(?<=\w{3})(ing|ed|es|e|s)$", "", word) for word in words}


def _score(heard: set[str], tool: Tool) -> int:
    """Count a word of the name as 3 and one of the description as 1.5, rounded down."""
    name = _name(tool)
    if name is None:
        return 0
    name_tokens = tokens(name)
    description = str(tool["function"].get("description", ""))
    description_tokens = tokens(description) - name_tokens
    return 3 * len(heard & name_tokens) + 3 * len(heard & description_tokens) // 2


def _fill(words: str, schema: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Return the arguments found in the words, and the first required one missing."""
    finder = _ArgumentFinder(words)
    required = schema.get("required", [])
    arguments: dict[str, Any] = {}
    missing = None
    for name, rule in (schema.get("properties") or {}).items():
        value = finder.find(rule, name in required)
        if value is None:
            value = rule.get("default")
        if value is not None:
            arguments[name] = value
        elif name in required and missing is None:
            missing = name
    return arguments, missing


class _ArgumentFinder:
    """Find values in the visitor's words; each number and phrase is used once."""

    def __init__(self, words: str) -> None:
        self._words = words
        self._numbers = [
            float(NUMBERS.get(found.lower(), found)) for found in NUMBER.findall(words)
        ]
        self._phrases = [
            phrase.strip() for phrase in QUOTED.findall(words) + PHRASE.findall(words)
        ]

    def find(self, rule: dict[str, Any], is_required: bool) -> Any:
        """Return the value for a rule of a JSON Schema, or None."""
        if "enum" in rule:
            return self._option(rule, is_required)
        match rule.get("type"):
            case "number" | "integer" as kind:
                return self._number(kind)
            case "string":
                return self._phrase()
            case "boolean":
                value: Any = not NEGATION.search(self._words)
            case "array":
                phrase = self._phrase()
                if phrase is not None:
                    return [phrase]
                value = []
            case _:
                value = {}
        return value if is_required else None

    def _option(self, rule: dict[str, Any], is_required: bool) -> Any:
        heard = self._words.lower()
        for option in rule["enum"]:
            if str(option).lower() in heard:
                return option
        needs_any = is_required and "default" not in rule
        return rule["enum"][0] if needs_any else None

    def _number(self, kind: str) -> float | None:
        if not self._numbers:
            return None
        number = self._numbers.pop(0)
        return int(number) if kind == "integer" or number.is_integer() else number

    def _phrase(self) -> str | None:
        return self._phrases.pop(0) if self._phrases else None


def describe_result(call: Call, content: str) -> list[str]:
    """Return sentences that say what a tool has answered (as JSON)."""
    name = call.name
    try:
        result = json.loads(content)
    except ValueError:
        result = content
    if isinstance(result, dict):
        has_failed = "error" in result or result.get("result") == "error!"
        if has_failed:
            error = result.get("error", "the page reported an error")
            return [f"I am sorry, {name} did not work: {error}."]
    spoken = _spoken(result)
    is_square = tokens(name) == SQUARES and NUMBER.fullmatch(spoken)
    if is_square and len(call.arguments) == 1:
        return [f"{_spoken(call.arguments)} squared is {spoken}."]
    if isinstance(result, dict) and "location" in result and len(result) > 1:
        location = result.pop("location")
        return [f"In {_spoken(location)}: {_spoken(result)}."]
    return [f"{name} says: {spoken}."] if spoken else [f"{name} is done."]


def _spoken(value: Any) -> str:
    """Return a JSON value in words."""
    if isinstance(value, dict):
        if len(value) == 1:
            return _spoken(next(iter(value.values())))
        return ", ".join(
            f"{key.replace('_', ' ')} {_spoken(item)}" for key, item in value.items()
        )
    if isinstance(value, list):
        return ", ".join(_spoken(item) for item in value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
