"""What the avatar says when no tool is wanted: some topics, sums, the visitor's name, and a polite rest.

Pure functions from what was said to sentences. No language model, and the avatar says so when asked.
"""

import re
from collections.abc import Sequence
from datetime import datetime

Sentences = list[str]

# The first pattern found in what the visitor said answers. {name} is ", Ada" once the visitor gave a name;
# a sentence with {tools} is said where there are any.
TOPICS: list[tuple[str, Sentences]] = [
    (
        r"\b(who|what) are you\b|\byour name\b|\bintroduce yourself\b",
        [
            "I am the avatar of your local sandbox.",
            "My face is drawn and my voice is made on this very machine, so we can talk without an account.",
            "With a real Perso key a lifelike person takes my place, and nothing else on the page changes.",
        ],
    ),
    (
        r"\b(real|human|robot|machine|an? ai)\b.*\?|\bare you (real|human|alive)\b",
        [
            "No, I am not human.",
            "I am a drawing with a script, but the connection between us is real WebRTC.",
        ],
    ),
    (
        r"\bhow are you\b|\bhow do you do\b|\bhow('s| is) it going\b",
        ["I am very well, thank you{name}!", "How are you today?"],
    ),
    (
        r"\bwhat can you\b|\bhelp\b|\bwhat (can|should|could) i (ask|say|do)\b",
        [
            "You can greet me, tell me your name, ask for the time, or what 12 times 7 is, or 12 squared.",
            "I also use the tools I am offered here: {tools}.",
            "Everything we say is written to the conversation log, and you find it in the Django admin.",
        ],
    ),
    (
        r"\b(django|admin|database|transcript|log)\b",
        [
            "Django asked for this session and keeps the record of it.",
            "Every word arrives in the database once and in order; look under Conversations.",
        ],
    ),
    (
        r"\bperso\b|\bavatar\b",
        [
            "Perso Interactive makes avatars that listen and speak.",
            "I stand in for one of them while you develop.",
        ],
    ),
    (
        r"\bwebrtc\b|\bvideo\b|\bpicture\b|\bvoice\b",
        [
            "My picture and my voice reach you by WebRTC.",
            "If you see my mouth move, the whole road works.",
        ],
    ),
    (
        r"\bweather\b|\brain\b|\bsunny\b",
        [
            "You asked about the weather, but this page offers me no weather tool.",
            "From in here it always looks mild.",
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
    r"\b(?:my name is|my name's|call me|i am called|(?-i:I am|I'm)(?= (?-i:[A-Z])))\s+([\w'-]+)",
    re.IGNORECASE,
)
SUM = re.compile(
    r"(-?\d+(?:\.\d+)?)\s*(\+|-|\*|x|/|plus|minus|times|divided by|multiplied by)\s*(-?\d+(?:\.\d+)?)"
)
SQUARED = re.compile(
    r"(-?\d+(?:\.\d+)?)(?: squared\b|²)|\bsquare(?: number)? of (-?\d+(?:\.\d+)?)"
)
QUESTION_WORDS = re.compile(
    r"^\W*((can|could|would|will) you (please )?|please |tell me |(do|did|does|is|are|was|were) |"
    r"(what|who|where|when|why|how|which)('s| is| are| was| do| does| did| much| many)*\b ?|"
    r"(i|you|we) |about |the |an? )+",
    re.IGNORECASE,
)


def answer(
    text: str, before: Sentences, now: datetime, tools: Sequence[str] = ()
) -> Sentences:
    """Sentences that answer `text`. `before` is what the visitor said earlier, oldest first; `tools` are the
    names of those on offer."""
    said = text.lower().strip()
    if found := NAMED.search(text):
        return [
            f"Nice to meet you, {found[1]}!",
            "I shall remember your name while we talk.",
        ]
    return (
        _about_visitor(said, before)
        or _by_reckoning(said, now)
        or _by_topic(said, before, tools)
        or _politely(text, len(before))
    )


def _name(before: Sentences) -> str | None:
    return next(
        (found[1] for line in reversed(before) if (found := NAMED.search(line))), None
    )


def _about_visitor(said: str, before: Sentences) -> Sentences | None:
    if re.search(r"\bmy name\b|\bwho am i\b", said):
        name = _name(before)
        return (
            [f"Your name is {name}."]
            if name
            else ["You have not told me your name yet.", "What is it?"]
        )
    if re.search(r"\bwhat did i (just )?(say|ask|tell)\b|\bremember\b", said):
        return (
            [f"You said: {before[-1]}"]
            if before
            else ["This is the first thing you say to me."]
        )
    return None


def _by_reckoning(said: str, now: datetime) -> Sentences | None:
    if found := SUM.search(said):
        return [
            f"{found[1]} {found[2]} {found[3]} is {_reckon(float(found[1]), found[2], float(found[3]))}."
        ]
    if found := SQUARED.search(said):
        number = found[1] or found[2]
        return [f"{number} squared is {_reckon(float(number), '*', float(number))}."]
    if re.search(r"\b(what|which|tell|know).*\btime\b|\btime is it\b", said):
        return [f"It is {now:%H:%M} where I am."]
    if re.search(r"\b(what|which) (day|date)\b|\btoday('s date)?\?", said):
        return [f"Today is {now:%A}, {now.day} {now:%B %Y}."]
    return None


def _reckon(a: float, operator: str, b: float) -> str:
    if operator in ("/", "divided by"):
        return (
            "not defined, as nothing can be divided by zero"
            if b == 0
            else f"{a / b:.6g}"
        )
    results = {"+": a + b, "plus": a + b, "-": a - b, "minus": a - b}
    return f"{results.get(operator, a * b):.15g}"


def _by_topic(said: str, before: Sentences, tools: Sequence[str]) -> Sentences | None:
    name = _name(before)
    told = {
        "name": f", {name}" if name else "",
        "tools": ", ".join(tools).replace("_", " "),
    }
    for pattern, sentences in TOPICS:
        if re.search(pattern, said):
            return [
                sentence.format(**told)
                for sentence in sentences
                if tools or "{tools}" not in sentence
            ]
    return None


def _politely(text: str, turn: int) -> Sentences:
    """Something about a subject the script knows nothing of, naming it."""
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
    return text if len(text) <= 80 else text[:79].rsplit(" ", 1)[0] + "…"
