"""What the avatar says when no tool is needed.

It knows some topics, does sums, remembers the visitor's name, and answers everything
else politely. There is no language model, and the avatar says so when asked.
"""

import re
from collections.abc import Sequence
from datetime import datetime

Sentences = list[str]

# The first pattern that matches chooses the answer. {name} becomes ", Ada" once the
# visitor has given a name. A sentence with {tools} is left out when there are none.
TOPICS: list[tuple[str, Sentences]] = [
    (
        r"\b(who|what) are you\b|\byour name\b|\bintroduce yourself\b",
        [
            "I am the avatar of your local sandbox.",
            "My face and my voice are made on this machine, so we need no account.",
            "With a real Perso key, a lifelike avatar takes my place.",
        ],
    ),
    (
        r"\b(real|human|robot|machine|an? ai)\b.*\?|\bare you (real|human|alive)\b",
        [
            "No, I am not human.",
            "I am a drawing with a script, but our connection is real WebRTC.",
        ],
    ),
    (
        r"\bhow are you\b|\bhow do you do\b|\bhow('s| is) it going\b",
        ["I am very well, thank you{name}!", "How are you today?"],
    ),
    (
        r"\bwhat can you\b|\bhelp\b|\bwhat (can|should|could) i (ask|say|do)\b",
        [
            "You can greet me, tell me your name, ask for the time, "
            "or ask what 12 times 7 is.",
            "I can also use these tools: {tools}.",
            "Everything we say is logged, and you can read it in the Django admin.",
        ],
    ),
    (
        r"\b(django|admin|database|transcript|log)\b",
        [
            "Django started this conversation and stores it.",
            "Every word is stored once and in order; look under Conversations.",
        ],
    ),
    (
        r"\bperso\b|\bavatar\b",
        [
            "Perso Interactive makes avatars that listen and speak.",
            "I take the place of one while you develop.",
        ],
    ),
    (
        r"\bwebrtc\b|\bvideo\b|\bpicture\b|\bvoice\b",
        [
            "My picture and my voice reach you by WebRTC.",
            "If you see my mouth move, everything works.",
        ],
    ),
    (
        r"\bweather\b|\brain\b|\bsunny\b",
        [
            "You asked about the weather, but this page has no weather tool.",
            "In here it is always mild.",
        ],
    ),
    (
        r"\bjoke\b|\bfunny\b|\blaugh\b",
        [
            "A joke? Gladly.",
            "Why did the developer bring a ladder?",
            "Because the stack was too high.",
        ],
    ),
    (r"\bthank(s| you)?\b|\bcheers\b", ["You are very welcome{name}!"]),
    (
        r"\b(good)?bye\b|\bsee you\b|\bgood night\b",
        ["Goodbye{name}!", "It was nice talking to you."],
    ),
    (
        r"\b(hello|hi|hey|good (morning|afternoon|evening))\b|안녕",
        ["Hello{name}! Nice to meet you.", "What would you like to know?"],
    ),
    (r"^\W*(yes|yeah|sure|ok|okay)\b", ["Good!", "Then ask me anything."]),
    (r"^\W*(no|nope)\b", ["All right.", "Tell me when you change your mind."]),
]
NAMED = re.compile(
    r"\b(?:my name is|my name's|call me|i am called|(?-i:I am|I'm)(?= (?-i:[A-Z])))"
    r"\s+([\w'-]+)",
    re.IGNORECASE,
)
SUM = re.compile(
    r"(-?\d+(?:\.\d+)?)\s*"
    r"(\+|-|\*|x|/|plus|minus|times|divided by|multiplied by)"
    r"\s*(-?\d+(?:\.\d+)?)"
)
SQUARED = re.compile(
    r"(-?\d+(?:\.\d+)?)(?: squared\b|²)|\bsquare(?: number)? of (-?\d+(?:\.\d+)?)"
)
QUESTION_WORDS = re.compile(
    r"^\W*((can|could|would|will) you (please )?|please |tell me |"
    r"(do|did|does|is|are|was|were) |"
    r"(what|who|where|when|why|how|which)"
    r"('s| is| are| was| do| does| did| much| many)*\b ?|"
    r"(i|you|we) |about |the |an? )+",
    re.IGNORECASE,
)


def answer(
    text: str, before: Sentences, now: datetime, tools: Sequence[str] = ()
) -> Sentences:
    """Return sentences that answer `text`.

    `before` is what the visitor has said so far, oldest first; `tools` are names.
    """
    said = text.lower().strip()
    if found := NAMED.search(text):
        return [
            f"Nice to meet you, {found[1]}!",
            "I will remember your name while we talk.",
        ]
    return (
        _about_visitor(said, before)
        or _by_calculation(said, now)
        or _by_topic(said, before, tools)
        or _politely(text, len(before))
    )


def _name(before: Sentences) -> str | None:
    """Return the name the visitor has given last."""
    for line in reversed(before):
        if found := NAMED.search(line):
            return found[1]
    return None


def _about_visitor(said: str, before: Sentences) -> Sentences | None:
    if re.search(r"\bmy name\b|\bwho am i\b", said):
        if name := _name(before):
            return [f"Your name is {name}."]
        return ["You have not told me your name yet.", "What is it?"]
    if re.search(r"\bwhat did i (just )?(say|ask|tell)\b|\bremember\b", said):
        if before:
            return [f"You said: {before[-1]}"]
        return ["You have said nothing yet."]
    return None


def _by_calculation(said: str, now: datetime) -> Sentences | None:
    if found := SUM.search(said):
        left, operator, right = found.groups()
        result = _calculate(float(left), operator, float(right))
        return [f"{left} {operator} {right} is {result}."]
    if found := SQUARED.search(said):
        number = found[1] or found[2]
        return [f"{number} squared is {_calculate(float(number), '*', float(number))}."]
    if re.search(r"\b(what|which|tell|know).*\btime\b|\btime is it\b", said):
        return [f"It is {now:%H:%M} where I am."]
    if re.search(r"\b(what|which) (day|date)\b|\btoday('s date)?\?", said):
        return [f"Today is {now:%A}, {now.day} {now:%B %Y}."]
    return None


def _calculate(a: float, operator: str, b: float) -> str:
    if operator in ("/", "divided by"):
        if b == 0:
            return "not defined, as nothing can be divided by zero"
        return f"{a / b:.6g}"
    if operator in ("+", "plus"):
        return f"{a + b:.15g}"
    if operator in ("-", "minus"):
        return f"{a - b:.15g}"
    return f"{a * b:.15g}"


def _by_topic(said: str, before: Sentences, tools: Sequence[str]) -> Sentences | None:
    name = _name(before)
    spoken_name = f", {name}" if name else ""
    spoken_tools = ", ".join(tools).replace("_", " ")
    for pattern, sentences in TOPICS:
        if re.search(pattern, said):
            return [
                sentence.format(name=spoken_name, tools=spoken_tools)
                for sentence in sentences
                if tools or "{tools}" not in sentence
            ]
    return None


def _politely(text: str, turn: int) -> Sentences:
    """Answer something the script does not know, by naming it."""
    if text.rstrip().endswith("?"):
        subject = QUESTION_WORDS.sub("", text) or text
        return [
            f"You ask about {_short(subject)}.",
            "My script does not cover that.",
            "With a real key, the language model you chose would answer.",
        ]
    openings = ["I hear you:", "I see. You say:", "Thank you for telling me:"]
    return [
        f"{openings[turn % len(openings)]} “{_short(text)}”.",
        "Tell me more, or ask what I can do.",
    ]


def _short(text: str) -> str:
    text = text.strip(" ?!.,\n") or text.strip()
    if len(text) <= 80:
        return text
    return text[:79].rsplit(" ", 1)[0] + "…"
