"""The settings of a configuration: their names, and the values that each may have.

Sources: domain.md 4.1 to 4.3 (identity), 6.2 (priority), 5.3 (purposes), 13 (retention), 2.1
(limits), design.md R1 to R3, R13.
"""

from __future__ import annotations

from collections.abc import Mapping

from profilectl.codes import InputRefused, UsageError
from profilectl.rules.identity import STRATEGIES, display, flags_of, no_type, star_of, type_named
from profilectl.rules.priority import OVERWRITE
from profilectl.rules.retention import check_clocks
from profilectl.rules.text.naming import nearest

# fmt: off
SETTINGS: dict[str, tuple[str, str]] = {
    # name                          kind of value  its meaning
    "identity.strategy":           ("strategy",    "which identity strategy resolves rows"),
    "identity.hierarchy":          ("types",       ("the order in which identity types are "
                                                    "looked up")),
    "identity.login":              ("types",       ("types that identify exactly one known "
                                                    "profile")),
    "identity.unique":             ("types",       ("types of which one profile at most holds "
                                                    "a value")),
    "identity.immutable":          ("types",       "types that are never changed once set"),
    "identity.unique_conflict":    ("conflict",    ("what becomes of a unique identity that a "
                                                    "second profile claims")),
    "identity.placeholders":       ("nobodys",     ("values that are nobody's identity, "
                                                    "instead of the built-in list")),
    "identity.placeholders_add":   ("nobodys",     ("values that are nobody's identity, beside "
                                                    "that list")),
    "attributes.priority":         ("priority",    "how source priority is read"),
    "consent.gdpr_purposes":       ("strings",     ("the GDPR purposes that consent may be "
                                                    "about; where it is left out, any")),
    "history.keep":                ("limit",       ("how many of the last imports keep tables "
                                                    "of their own, so that they can be undone")),
    "retention.lifetime_days":     ("limit",       ("after this many days without a batch a "
                                                    "profile loses its attributes, consent and "
                                                    "devices")),
    "retention.retention_days":    ("limit",       ("after this many days without a batch a "
                                                    "profile is gone")),
    "retention.lifetime_profiles": ("switch",      ("whether a profile keeps its attributes "
                                                    "and consent beyond its lifetime")),
    "limits.attributes":           ("limit",       "the most attributes of one batch"),
    "limits.key":                  ("limit",       "the most characters of an attribute's name"),
    "limits.value":                ("limit",       "the most characters of a value"),
    "limits.list":                 ("limit",       "the most entries of a list"),
    "limits.entry":                ("limit",       "the most characters of an entry of a list"),
}
# fmt: on
SECTIONS = ("identity", "attributes", "consent", "history", "retention", "limits")
"""The sections of the settings."""
CHOICES = {
    "strategy": tuple(STRATEGIES),
    "conflict": ("move", "keep"),
    "priority": tuple(OVERWRITE),
}
"""The values of the kinds that are one of a few."""
HIGHEST_LIMIT = 1_000_000


def stated_settings(document: Mapping[str, object], title: str) -> dict[str, object]:
    """Return the settings in a configuration, each checked by itself.

    title: the name of the configuration in messages. Raises InputRefused, naming the setting.
    """
    settings: dict[str, object] = {}
    for section in SECTIONS:
        members = document.get(section, {})
        if not isinstance(members, dict):
            raise InputRefused(f"{title}: {section} must be a section")
        for member, value in members.items():
            name = f"{section}.{member}"
            if name not in SETTINGS:
                raise InputRefused(f"{title}: there is no setting {name}", advice_on_key(name))
            settings[name] = _checked(value, name, title)
    return settings


def advice_on_key(name: str) -> str:
    """Return what to try instead of a setting that there is not: the nearest, else all of them."""
    section, _, member = name.rpartition(".")
    # Who leaves out the section, or names another, means the setting that has such a key.
    names = [setting for setting in SETTINGS if setting.rpartition(".")[2] == member]
    if not names:
        of_section = [
            each[len(section) + 1 :] for each in SETTINGS if each.startswith(f"{section}.")
        ]
        names = [f"{section}.{key}" for key in nearest(member, of_section)]
    return " or ".join(names or nearest(name, tuple(SETTINGS))) or (
        "the settings are " + ", ".join(SETTINGS)
    )


def check_together(settings: Mapping[str, object], title: str) -> None:
    """Check all settings of a configuration against each other. Raises InputRefused."""
    _check_flags(settings, title)
    try:
        check_clocks(settings)
    except UsageError as error:
        raise InputRefused(f"{title}: {error.message}", error.hint) from None


def _checked(value: object, name: str, title: str) -> object:
    """Return the value of a setting in its usual form. Raises InputRefused."""
    kind = SETTINGS[name][0]
    if kind in CHOICES:
        if not isinstance(value, str) or value not in CHOICES[kind]:
            raise InputRefused(
                f"{title}: {name} = {value!r}", "it is one of " + ", ".join(CHOICES[kind])
            )
        return value
    if kind == "switch":
        if not isinstance(value, bool):
            raise InputRefused(f"{title}: {name} must be true or false")
        return value
    if kind == "limit":
        # True is an int as well.
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= HIGHEST_LIMIT:
            raise InputRefused(
                f"{title}: {name} must be a whole number from 1 to {HIGHEST_LIMIT:,}"
            )
        return value
    return _checked_list(value, name, title)


def _checked_list(value: object, name: str, title: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InputRefused(f"{title}: {name} must be a list of strings")
    kind = SETTINGS[name][0]
    if kind == "nobodys":
        _check_placeholders(value, name, title)
    return _types(value, name, title) if kind == "types" else value


def _types(names: list[str], name: str, title: str) -> list[str]:
    """Return the identity types that a setting lists. Raises InputRefused."""
    types = []
    for listed in names:
        kind = type_named(listed)
        if kind is None:
            raise InputRefused(
                f"{title}: {name}: there is no identity type {listed!r}", no_type(listed).hint
            )
        types.append(kind.name)
    if len(set(types)) != len(types):
        raise InputRefused(f"{title}: {name} names a type twice")
    return types


def _check_placeholders(entries: list[str], name: str, title: str) -> None:
    for entry in entries:
        if not display(entry) or star_of(display(entry)) == "middle":
            raise InputRefused(
                f"{title}: {name}: {entry!r} is no placeholder",
                "a placeholder is a text; one * at its beginning or its end is any text: noemail@*",
            )


def _check_flags(settings: Mapping[str, object], title: str) -> None:
    """Check login, unique, immutable and the hierarchy against the strategy (domain.md 4.2).

    Raises InputRefused.
    """
    strategy = str(settings.get("identity.strategy", "default"))
    row = STRATEGIES[strategy]
    lists = {
        name.partition(".")[2]: [str(entry) for entry in value]
        for name, value in settings.items()
        if isinstance(value, list)
    }
    for flag in row.fixed:
        if flag in lists and set(lists[flag]) != set(getattr(row, flag)):
            fixed = ", ".join(getattr(row, flag)) or "none"
            raise InputRefused(
                f"{title}: the strategy {strategy} fixes {flag}: {fixed}",
                f"leave identity.{flag} out, or use the strategy conversion",
            )
    flags = flags_of(strategy, lists)
    # domain.md 4.2: an immutable type is unique and login as well.
    for wider in ("unique", "login"):
        if not flags["immutable"] <= flags[wider]:
            missing = ", ".join(sorted(flags["immutable"] - flags[wider]))
            raise InputRefused(
                f"{title}: {missing} is immutable and must be {wider} too",
                f"add it to identity.{wider}",
            )
    if "hierarchy" in lists:
        _check_hierarchy(lists["hierarchy"], flags, title)


def _check_hierarchy(hierarchy: list[str], flags: Mapping[str, frozenset[str]], title: str) -> None:
    if not hierarchy:
        raise InputRefused(
            f"{title}: identity.hierarchy is empty: nobody could be found",
            "leave it out for the strategy's own",
        )
    # Only types of the hierarchy enter the identity record (domain.md 4.2).
    absent = sorted((flags["login"] | flags["unique"]) - set(hierarchy))
    if absent:
        raise InputRefused(
            f"{title}: {absent[0]} is login or unique, but not in identity.hierarchy"
        )
