"""Write the parts of the documents that the code decides: rules, codes, settings, options.

    python docs/make.py            write them
    python docs/make.py --check    exit with 1 where a document is not current

A part stands between `<!-- made: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import enum
import inspect
import itertools
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import typer

from profilectl import codes
from profilectl.cli.app import app
from profilectl.cli.pages import FOLDED, examples_of, is_everywhere, manual_page
from profilectl.codes import CODES, CodeEffect, Exit
from profilectl.outputs.packing import SERVER_SET
from profilectl.outputs.platform import ANSWERS, CLASSES, Act
from profilectl.reading.check import PROMISES
from profilectl.rules.batch_fields import KEPT_FIELDS, RESERVED_KEYS
from profilectl.rules.batch_limits import LIMITS
from profilectl.rules.calculated import TYPES as CALCULATED
from profilectl.rules.criteria.operators import MEANINGS, OPERATORS
from profilectl.rules.event.event import EVENT_TYPES
from profilectl.rules.feed import PROTECTIONS, Effect
from profilectl.rules.identity import HIERARCHY, LOGOUTS, NOTHING, SPOILED, STRATEGIES, TYPES
from profilectl.rules.leaving import output
from profilectl.rules.leaving.audience_connection import PHONES
from profilectl.rules.leaving.connection import REASONS
from profilectl.rules.leaving.output import ANSWERS as OUTPUT_ANSWERS
from profilectl.rules.leaving.output import CLASSES as OUTPUT_CLASSES
from profilectl.rules.leaving.output import CONTENTS, SWITCHES, TROUBLES, DeliveryFate
from profilectl.rules.leaving.output import TYPES as OUTPUTS
from profilectl.rules.priority import OVERWRITE, SOURCES
from profilectl.rules.settings import CHOICES, SETTINGS
from profilectl.rules.text.presence import PRESENCE

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PART = re.compile(r"(<!-- made: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
WIDTH = 100
"""The characters of a line that is no row of a table."""
CELL = 160
"""The characters of a cell: what is longer goes on below its table."""
FEW_CHOICES = 100
"""The characters of an option's choices up to which they stand in the table itself."""


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; below it, in a list, what does not fit into a cell."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    below = []
    for row in rows:
        cells, remainders = zip(*(parted(str(cell)) for cell in row), strict=True)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        below += [
            wrapped(f"- {cells[0]}: {remainder[0].upper()}{remainder[1:]}")
            for remainder in remainders
            if remainder
        ]
    return "\n".join([*lines, "", *below] if below else lines) + "\n"


def parted(cell: str) -> tuple[str, str]:
    """Return a cell up to the last sentence or word that fits, and the rest of it."""
    if len(cell) <= CELL:
        return cell, ""
    ends = (cell[:CELL].rfind(mark) for mark in (". ", "; ", ", ", " "))
    end = next(end for end in ends if end > 0)
    return cell[:end].rstrip(".") + ".", cell[end + 1 :].strip()


def wrapped(text: str) -> str:
    """Return a paragraph or an item of a list in lines of WIDTH, with spans of code unbroken."""
    unbroken = re.sub(r"`[^`]+`", lambda span: span[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(
        unbroken,
        WIDTH,
        subsequent_indent="  " if text.startswith("- ") else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace("\0", " ")


def code(text: str) -> str:
    """Return a text as code; nothing for an empty one."""
    return f"`{text}`" if text else ""


def listed(names: Iterable[str]) -> str:
    """Return names as code, separated by commas."""
    return ", ".join(map(code, names)) or "none"


def sentences_of(member: type, module: Any) -> dict[str, str]:
    """Return the sentence under each member of an enum."""
    tree = ast.parse(inspect.getsource(module))
    (enumeration,) = (
        node
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == member.__name__
    )
    sentences = {}
    for name, text in itertools.pairwise(enumeration.body):
        if (
            isinstance(name, ast.Assign)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            assert isinstance(name.targets[0], ast.Name)
            sentences[name.targets[0].id] = " ".join(str(text.value.value).split())
    return sentences


def identity_types() -> str:
    shapes = {
        "text": "white space outside removed",
        "email": "the same, and lower case",
        "guid": "a GUID, lower case",
    }
    return table(
        ("type", "column or field", "other names", "is looked up by"),
        (
            (
                code(kind.name),
                code(kind.field),
                listed(kind.aliases) if kind.aliases else "",
                shapes[kind.shape],
            )
            for kind in TYPES
        ),
    )


def strategies() -> str:
    every = "every identity, in the hierarchy's order"
    by_login = "its login identities alone, if it brings any"
    rows = [
        (
            code(name),
            *map(listed, (strategy.login, strategy.unique, strategy.immutable, strategy.fixed)),
            by_login if strategy.login_decides else every,
            LOGOUTS[strategy.logout],
        )
        for name, strategy in STRATEGIES.items()
    ]
    return table(
        (
            "strategy",
            "login",
            "unique",
            "immutable",
            "cannot be configured",
            "a row is looked up by",
            "a logout leads",
        ),
        rows,
    )


def hierarchy() -> str:
    # The sign stays at the end of a line: at its beginning Markdown would take it for a quotation.
    return wrapped(" > ".join(map(code, HIERARCHY)).replace(" > ", "\0> ")) + "\n"


def placeholders() -> str:
    return table(
        ("who writes so", "what is written"),
        ((writer, listed(values)) for writer, values in NOTHING.items()),
    )


def spoiled() -> str:
    return table(
        ("who writes so", "for example", "as a regular expression"),
        ((form.writer, code(form.example), code(form.pattern)) for form in SPOILED),
    )


def sources() -> str:
    units = {"partner": "each partner"}
    return table(
        ("rank", "source", "who is a unit of its own"),
        (
            (source.rank, code(name), units.get(name, "each feed") if source.own_unit else "")
            for name, source in SOURCES.items()
        ),
    )


def overwrite() -> str:
    standings = list(next(iter(OVERWRITE.values())))

    def verdict(code_or_set: str) -> str:
        return "written" if code_or_set == "SET" else f"refused: {code(code_or_set)}"

    rows = [
        (f"{standing}", *(verdict(verdicts[standing]) for verdicts in OVERWRITE.values()))
        for standing in standings
    ]
    priorities = (f"priority = {code(name)}" for name in OVERWRITE)
    return table(("the incoming source, beside the owner, is", *priorities), rows)


def protections() -> str:
    words = {
        Effect.CREATE: "a profile is made",
        Effect.UPDATE: "the profile is updated",
        Effect.DROP: "the row is dropped",
        Effect.PASS_BY: "the row is dropped",
    }
    return table(
        ("level", "the person is not known", "the person is known", "code of a dropped row"),
        (
            (code(name), words[level.unknown_user], words[level.known_user], code(level.code))
            for name, level in PROTECTIONS.items()
        ),
    )


def limits() -> str:
    words = {
        "attributes": ("attributes of one batch", "UA_TOO_MANY"),
        "key": ("characters of an attribute's name", "UA_KEY_TOO_LONG"),
        "value": ("characters of a value", "UA_VALUE_TOO_LONG"),
        "list": ("entries of a list", "UA_LIST_TOO_LONG"),
        "entry": ("characters of a list's entry", "UA_ENTRY_TOO_LONG"),
    }
    rows = [
        (code(f"limits.{name}"), words[name][0], f"{most:,}", code(words[name][1]))
        for name, most in LIMITS.items()
    ]
    return table(("setting", "limits the", "at most", "beyond it"), rows)


def code_table(fate: CodeEffect) -> Callable[[], str]:
    return lambda: table(
        ("code", "what a person reads"),
        ((code(name), meaning.sentence) for name, meaning in CODES.items() if meaning.fate is fate),
    )


def exits() -> str:
    sentences = sentences_of(Exit, codes)
    return table(("exit", "meaning"), ((int(status), sentences[status.name]) for status in Exit))


def promises() -> str:
    return table(("promise", "says"), ((code(name), text) for name, text in PROMISES.items()))


def settings() -> str:
    choices = {
        "types": "a list of identity types",
        "strings": "a list of strings",
        "nobodys": "a list of strings",
        "limit": "a whole number from 1 to 1,000,000",
        "switch": "true or false",
        **{kind: listed(names) for kind, names in CHOICES.items()},
    }
    return table(
        ("setting", "takes", "says"),
        ((code(name), choices[kind], text) for name, (kind, text) in SETTINGS.items()),
    )


def kept_fields() -> str:
    return wrapped(listed(KEPT_FIELDS)) + "\n"


def event_types() -> str:
    return table(
        ("event type", "must have in `data`", "is named by"),
        (
            (code(name), listed(kind.needs) if kind.needs else "", code(kind.name))
            for name, kind in EVENT_TYPES.items()
        ),
    )


def calculated_types() -> str:
    return table(
        ("type", "needs `of`", "gives"),
        ((code(name), "yes" if kind.of else "", kind.format) for name, kind in CALCULATED.items()),
    )


def output_types() -> str:
    return table(
        ("type", "has", "credentials", "does"),
        (
            (code(name), code(kind.place), kind.secret or "none", kind.says)
            for name, kind in OUTPUTS.items()
        ),
    )


def output_switches() -> str:
    return table(
        ("switch", "says", "else"),
        (
            (code(name), says, code(str(default).lower()))
            for name, (default, says) in SWITCHES.items()
        ),
    )


def csv_contents() -> str:
    return table(("`content`", "the file"), ((code(name), says) for name, says in CONTENTS.items()))


def phones() -> str:
    return table(
        ("`phone`", "what is hashed of a phone number"),
        ((code(name), says) for name, says in PHONES.items()),
    )


def forward_reasons() -> str:
    return table(("reason", "means"), ((code(name), says) for name, says in REASONS.items()))


def output_answers() -> str:
    sentences = sentences_of(DeliveryFate, output)
    by_fate: dict[str, list[str]] = {}
    for status, fate in sorted(OUTPUT_ANSWERS.items()):
        by_fate.setdefault(fate.name, []).append(str(status))
    for digit, fate in OUTPUT_CLASSES.items():
        by_fate.setdefault(fate.name, []).append(f"other {digit}xx")
    for trouble, fate in TROUBLES.items():
        by_fate.setdefault(fate.name, []).append(trouble)
    return table(
        ("answer", "what becomes of the batch"),
        ((", ".join(by_fate[fate.name]), sentences[fate.name]) for fate in DeliveryFate),
    )


def reserved_keys() -> str:
    return wrapped(listed(RESERVED_KEYS)) + "\n"


def server_set() -> str:
    return wrapped(listed(SERVER_SET)) + "\n"


def answers() -> str:
    singled_out = "the request is halved until the bad batch is alone; that one is refused: {}"
    words = {
        Act.ACCEPTED: "the batches are done",
        Act.AGAIN: "the same is sent again, after a pause",
        Act.STOP: "nothing more is sent; exit 4",
        Act.SINGLE_OUT: singled_out,
    }
    meanings = [(str(status), meaning) for status, meaning in ANSWERS.items()]
    meanings += [(f"other {digit}xx", meaning) for digit, meaning in CLASSES.items()]
    return table(
        ("answer", "means", "then"),
        (
            (status, meaning.sentence, words[meaning.act].format(code(meaning.code)))
            for status, meaning in meanings
        ),
    )


def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with its path, groups first."""
    yield path, command
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from walk(command.get_command(None, name), (*path, name))


def choices_of(parameter: Any) -> str:
    """Return the values that an option may have, parted by slashes; nothing where any will do."""
    kind = parameter.type_descriptor.annotation
    if not (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return ""
    return "/".join(str(choice.value) for choice in kind)


def parameter_row(parameter: Any) -> tuple[str, str]:
    """Return the row of an argument or option: its names with what it takes, and its help."""
    if parameter.param_type_name == "argument":
        return code(parameter.metavar or parameter.name.upper()), parameter.help or ""
    names = ", ".join(map(code, parameter.opts))
    if parameter.is_flag:
        return names, parameter.help or ""
    choices = choices_of(parameter)
    takes = parameter.metavar or (choices if len(choices) <= FEW_CHOICES else "") or "VALUE"
    return f"{names} {takes}", parameter.help or ""


def many_choices(parameter: Any) -> str:
    """Return a sentence for below a table: the values of an option that are too many for it."""
    choices = choices_of(parameter) if parameter.param_type_name == "option" else ""
    if parameter.metavar or len(choices) <= FEW_CHOICES:
        return ""
    return wrapped(f"{code(parameter.opts[0])} takes one of {listed(choices.split('/'))}.")


def command_section(name: str, command: Any) -> str:
    """Return the section of a command: its help, an example, and a table of its options."""
    shown = [
        parameter
        for parameter in command.params
        if not getattr(parameter, "hidden", False)
        and parameter.name != "help"
        and not is_everywhere(parameter)
        and not FOLDED.intersection(parameter.opts)
    ]
    rows = [row for row in map(parameter_row, shown) if "completion" not in row[0]]
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    parts = [f"## {name}", *(wrapped(" ".join(text.split())) for text in paragraphs if text)]
    parts += [
        wrapped(f"{example.caption}:\n{code(example.command)}".lstrip(":\n"))
        for example in examples_of(command.epilog)
    ]
    if rows:
        parts.append(table(("", ""), rows).rstrip("\n"))
    parts += filter(None, map(many_choices, shown))
    return "\n\n".join(parts) + "\n"


def command_reference() -> str:
    return "\n".join(
        command_section(" ".join(path), command)
        for path, command in walk(typer.main.get_command(app), ("profilectl",))
    )


def identity_options() -> str:
    return table(
        ("type", "option"),
        ((code(kind.name), code(f"--{kind.name.replace('_', '-')}") + " VALUE") for kind in TYPES),
    )


def condition_tests() -> str:
    return table(
        ("test", "holds if", "opposite", "in TOML"),
        (
            (
                code(MEANINGS[operator.name][0]),
                MEANINGS[operator.name][1],
                code(operator.negated) or "`not` before it",
                listed(filter(None, (operator.key, operator.negated_key))),
            )
            for operator in OPERATORS
        ),
    )


def presence() -> str:
    words = {True: "yes", False: "no"}
    return table(
        (
            "what stands there",
            "`exists` (`is not null`)",
            "`not exists` (`is null`)",
            "`is not empty`",
            "`is empty`",
        ),
        (
            (value, words[exists], words[not exists], words[filled], words[not filled])
            for value, (exists, filled) in PRESENCE.items()
        ),
    )


PARTS: dict[str, Callable[[], str]] = {
    "identity-types": identity_types,
    "strategies": strategies,
    "hierarchy": hierarchy,
    "placeholders": placeholders,
    "spoiled": spoiled,
    "sources": sources,
    "overwrite": overwrite,
    "protections": protections,
    "limits": limits,
    **{f"codes-{fate.value}": code_table(fate) for fate in CodeEffect},
    "exits": exits,
    "settings": settings,
    "promises": promises,
    "kept-fields": kept_fields,
    "event-types": event_types,
    "calculated-types": calculated_types,
    "reserved-keys": reserved_keys,
    "presence": presence,
    "condition-tests": condition_tests,
    "server-set": server_set,
    "output-types": output_types,
    "output-switches": output_switches,
    "csv-contents": csv_contents,
    "phones": phones,
    "forward-reasons": forward_reasons,
    "answers": answers,
    "output-answers": output_answers,
    "commands": command_reference,
    "identity-options": identity_options,
}


def show_picture() -> str:
    """Return the picture of the activity view, of people that are the same on every machine."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import people

    with tempfile.TemporaryDirectory() as name:
        people.make(Path(name))
        environment = {**os.environ, **people.NOW, "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
        show = [
            sys.executable,
            "-m",
            "profilectl",
            "show",
            "--customer-id",
            "C1",
            "--save-svg",
            "show.svg",
        ]
        subprocess.run(show, cwd=name, env=environment, check=True, capture_output=True)
        return (Path(name) / "show.svg").read_text("utf-8")


async def settled(pilot: Any) -> None:
    """Wait until nothing is read any more; a worker that a newer question replaced is cancelled."""
    from textual.worker import WorkerCancelled

    with contextlib.suppress(WorkerCancelled):
        await pilot.app.workers.wait_for_complete()
    while any(not worker.is_finished for worker in pilot.app.workers):
        await pilot.pause(0.02)


async def still(pilot: Any) -> str:
    """Return the picture of an application once it stays the same: its footer is drawn late."""
    drawings = [""]
    while len(drawings) < 3 or len(set(drawings[-3:])) > 1:
        await pilot.pause(0.1)
        drawings.append(pilot.app.export_screenshot(title="profilectl browse"))
    return drawings[-1]


def browse_picture() -> str:
    """Return the picture of `browse`, after a search and a press of e."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support import people

    from profilectl.render.browse import Browse

    async def drawn(store: Path) -> str:
        async with Browse(store, "amelie").run_test(size=(120, 36)) as pilot:
            for key in ("e", *["down"] * 4):
                await settled(pilot)
                await pilot.pause()
                if key == "e":
                    pilot.app.query_one("#found").focus()
                    await still(pilot)  # a footer under a window that opens is not drawn again
                await pilot.press(key)
            await settled(pilot)
            return await still(pilot)

    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, people.NOW):
        return asyncio.run(drawn(people.make(Path(name))))


def terminal_picture(name: str) -> str:
    """Return the picture of a command at a terminal (terminal_pictures.py)."""
    sys.path.insert(0, str(ROOT / "docs"))
    from terminal_pictures import picture_of

    return picture_of(name)


PICTURES: dict[str, Callable[[], str]] = {
    "show.svg": show_picture,
    "browse.svg": browse_picture,
    "columns.svg": lambda: terminal_picture("columns.svg"),
    "import.svg": lambda: terminal_picture("import.svg"),
    "preview.svg": lambda: terminal_picture("preview.svg"),
}


MANUAL = ROOT / "docs" / "profilectl.1"
"""The manual page, which the wheel has as share/man/man1/profilectl.1."""


def current(text: str) -> str:
    """Return a document with its made parts as the code has them today."""
    return PART.sub(lambda part: f"{part[1]}{PARTS[part[2]]()}{part[3]}", text)


def _text_of(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def stale() -> list[Path]:
    """Return the documents that are not current."""
    texts = {path: path.read_text("utf-8") for path in DOCUMENTS if path.exists()}
    pictures = {ROOT / "docs" / "pictures" / name: draw for name, draw in PICTURES.items()}
    manual = [MANUAL] if _text_of(MANUAL) != manual_page() else []
    return (
        manual
        + [path for path, text in texts.items() if current(text) != text]
        + [
            path
            for path, draw in pictures.items()
            if not path.exists() or draw() != path.read_text("utf-8")
        ]
    )


def main() -> None:
    outdated = stale()
    check = "--check" in sys.argv[1:]
    for path in outdated:
        if not check:
            path.parent.mkdir(exist_ok=True)
            draw = manual_page if path == MANUAL else PICTURES.get(path.name)
            path.write_text(draw() if draw else current(path.read_text("utf-8")), "utf-8")
        state = "not current: python docs/make.py writes it" if check else "written"
        print(f"{path.relative_to(ROOT)}: {state}")
    sys.exit(1 if check and outdated else 0)


if __name__ == "__main__":
    main()
