"""How the scripted model uses tools: it picks one on offer by the visitor's words and fills its arguments.

Tools are JSON objects in the form a browser sends: `{"function": {"name", "description", "parameters"}}`.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

Tool = dict[str, Any]

# Words that say nothing about which tool is meant.
WEAK_WORDS = """
a about an and any are as at by call can current do fetch find for from get give has have how i if in is
it its let like make me my not now number of on one only open or page please return run set show some
tell that the this to today tool use user value visitor want what when will with would you your
"""
WEAK = frozenset(WEAK_WORDS.split())
NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve"
NUMBERS = {word: number for number, word in enumerate(NUMBER_WORDS.split())}
NUMBER = re.compile(
    r"-?\d+(?:\.\d+)?|\b(?:" + "|".join(NUMBERS) + r")\b", re.IGNORECASE
)
QUOTED = re.compile(r"[\"“](.+?)[\"”]")
PHRASE = re.compile(
    r"\b(?:in|at|near|for|of|to|from|about|called|named|with|saying)\s+(?:the\s+)?(\S[^,.?!;]*?)"
    r"(?=\s+(?:in|at|for|to|with|and|please|today|now|tomorrow|right)\b|[,.?!;]|\s*$)",
    re.IGNORECASE,
)
SQUARES = {"squar"}  # the tokens of get_square_number, square, …
NEGATION = re.compile(r"\b(no|not|don't|off|without|disable)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Call:
    """A tool to be called."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Question:
    """What has to be asked before the tool can be called."""

    text: str


def choose(words: str, tools: list[Tool]) -> Call | Question | None:
    """The call that `words` ask for, the question it still needs, or None when no tool is meant."""
    heard = tokens(words)
    best, tool = max(
        ((_score(heard, tool), tool) for tool in tools),
        key=lambda pair: pair[0],
        default=(0, {}),
    )
    if best < 3:
        return None
    function = tool["function"]
    arguments, missing = _fill(words, function.get("parameters") or {})
    if missing:
        return Question(f"Which {missing.replace('_', ' ')} do you mean?")
    return Call(function["name"], arguments)


def names_of(tools: list[Tool]) -> list[str]:
    """What the tools are called."""
    functions = [
        function for tool in tools if isinstance(function := tool.get("function"), dict)
    ]
    return [
        function["name"]
        for function in functions
        if isinstance(function.get("name"), str)
    ]


def tokens(text: str) -> set[str]:
    """The telling words of a text or a name in snake_case or camelCase, without their endings."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    words = {word for word in re.findall(r"[^\W_]+", apart) if word not in WEAK}
    return {re.sub(r"(?<=\w{3})(ing|ed|es|e|s)$", "", word) for word in words}


def _score(heard: set[str], tool: Tool) -> int:
    """A word of the name counts 3, one of the description 1.5 (rounded down in sum)."""
    function = tool.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        return 0
    name = tokens(function["name"])
    description = tokens(str(function.get("description", ""))) - name
    return 3 * len(heard & name) + 3 * len(heard & description) // 2


def _fill(words: str, schema: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """Arguments found in the words, and the first required one that is not there."""
    numbers = [NUMBERS.get(found.lower(), found) for found in NUMBER.findall(words)]
    phrases = QUOTED.findall(words) + PHRASE.findall(words)
    required = schema.get("required", [])
    arguments: dict[str, Any] = {}
    missing = None
    for name, rule in (schema.get("properties") or {}).items():
        value = _value(words, rule, numbers, phrases, name in required)
        if value is None:
            value = rule.get("default")
        if value is not None:
            arguments[name] = value
        elif name in required and missing is None:
            missing = name
    return arguments, missing


def _value(
    words: str,
    rule: dict[str, Any],
    numbers: list[Any],
    phrases: list[str],
    required: bool,
) -> Any:
    kind = rule.get("type")
    if "enum" in rule:
        heard = words.lower()
        named = next(
            (option for option in rule["enum"] if str(option).lower() in heard), None
        )
        return (
            named
            if named is not None or not required or "default" in rule
            else rule["enum"][0]
        )
    if kind in ("number", "integer"):
        if not numbers:
            return None
        number = float(numbers.pop(0))
        return int(number) if kind == "integer" or number.is_integer() else number
    if kind == "boolean":
        return not NEGATION.search(words) if required else None
    if kind == "string":
        return phrases.pop(0).strip() if phrases else None
    if kind == "array":
        return [phrases.pop(0).strip()] if phrases else [] if required else None
    return {} if required else None


def told(call: Call, content: str) -> list[str]:
    """What a tool answered (a JSON string), as sentences."""
    name = call.name
    try:
        result = json.loads(content)
    except ValueError:
        result = content
    if isinstance(result, dict) and (
        "error" in result or result.get("result") == "error!"
    ):
        return [
            f"I am sorry, {name} did not work: {result.get('error', 'the page reported an error')}."
        ]
    spoken = _spoken(result)
    if (
        tokens(name) == SQUARES
        and NUMBER.fullmatch(spoken)
        and len(call.arguments) == 1
    ):
        return [f"{_spoken(call.arguments)} squared is {spoken}."]
    if isinstance(result, dict) and "location" in result and len(result) > 1:
        return [f"In {_spoken(result.pop('location'))}: {_spoken(result)}."]
    return [f"{name} says: {spoken}."] if spoken else [f"{name} is done."]


def _spoken(value: Any) -> str:
    if isinstance(value, dict):
        if len(value) == 1:
            return _spoken(next(iter(value.values())))
        return ", ".join(
            f"{key.replace('_', ' ')} {_spoken(item)}" for key, item in value.items()
        )
    if isinstance(value, list):
        return ", ".join(_spoken(item) for item in value)
    return (
        {True: "yes", False: "no", None: ""}.get(value, str(value))
        if isinstance(value, bool | None)
        else str(value)
    )
