"""Copy django_perso and add a session parameter to the copy, as a developer would."""

import shutil
from pathlib import Path

import django_perso

# What is added, before the line that it is added to. The parameter is a list of names,
# chosen from a list of the catalogue, since that involves the most code.
ENTRY = """
@dataclass(frozen=True, kw_only=True)
class Gesture:
    gesture_id: str
    title: str = ""


"""
LIST = """
GESTURES = CatalogueList(
    name="gestures",
    kind="gestures",
    path="settings/gesture/",
    entry=types.Gesture,
    value="gesture_id",
    title="title",
)
"""
ROW = """    Parameter(
        name="gestures",
        group=Group.KNOWLEDGE,
        kind=Kind.NAMES,
        catalogue=GESTURES,
        capability="GESTURES",
    ),
"""
FIELD = """    gestures = models.JSONField(
        _("gestures"), default=list, blank=True, validators=[validate_names]
    )
"""
ADDITIONS = [
    ("@dataclass(frozen=True, kw_only=True)\nclass Setup:", ENTRY),
    ("    last_used_at: str | None = None", "    gestures: tuple[Gesture, ...] = ()\n"),
    ("    llms: tuple[LLMType, ...] = ()", "    gestures: tuple[Gesture, ...] = ()\n"),
    ("    using_stf_webrtc: bool ", "    gestures: Sequence[str]\n"),
    ("# In the order in which the vendor's SDK writes them", LIST + "\n"),
    ('    Parameter(name="padding_left"', ROW),
    ("    width = models.PositiveIntegerField(", FIELD),
]


def write(directory: Path) -> list[str]:
    """Write the changed copy into `directory` and return the files that changed."""
    copy = directory / "django_perso"
    shutil.copytree(
        Path(django_perso.__file__).parent,
        copy,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    texts = {path: path.read_text() for path in copy.rglob("*.py")}
    changed = set()
    for line, addition in ADDITIONS:
        (path,) = [path for path, text in texts.items() if line in text]
        assert texts[path].count(line) == 1, line
        texts[path] = texts[path].replace(line, addition + line)
        path.write_text(texts[path])
        changed.add(str(path.relative_to(copy)))
    return sorted(changed)
