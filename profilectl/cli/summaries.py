"""The commands in groups, each with its summary: what `profilectl --help` lists.

It is a table, so that --help needs no command: to make them all took 200 ms. A test holds it
against what the commands say of themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

ABOUT = "A customer profile store on your own machine, with the rules of a customer data platform."
SUMMARIES: Mapping[str, Mapping[str, str]] = {
    "Start": {
        "import": "Import CSV, Parquet, JSONL or JSON files as one transaction.",
        "columns": "Show what the columns of files would become, and first values.",
        "show": "Show a person's profile, and where each value came from.",
        "browse": "Search and look at profiles with the keyboard.",
    },
    "Migrate": {
        "plan": "Make a plan of an import, or show one.",
        "apply": "Make exactly the import of a plan.",
        "imports": "List, show and undo imports.",
        "diff": "Show what an import changed, for each profile and attribute.",
        "export": "Write the data of the store to files.",
    },
    "Why": {
        "explain": "Explain a value, an identity, a row or the rules.",
        "identify": "Show which profile a batch with these identities would find.",
    },
    "People": {
        "search": "Find identities by a part or a pattern, profiles by a condition.",
        "lookup": "Look up many identities: a line for each line of FILE.",
        "events": "List the events of one user or of everybody, newest first.",
        "stream": "Show the latest batches with their effects, newest last.",
        "set": "Set and delete attributes of one person.",
        "modify": "Add, remove and replace identities of one person.",
        "alias": "Carry the past of a profile over to another.",
    },
    "Segments": {
        "calculated": "Define, try and compute attributes from events.",
        "audiences": "Define, try, evaluate, compare and export segments of users.",
    },
    "Send": {
        "push": "Send profiles, changes, events or batches to the platform.",
        "enrich": "Show how each batch of files would leave.",
        "forward": "Deliver waiting batches and audience changes to the outputs.",
        "outbox": "List, retry and drop batches that wait to leave or could not.",
        "usage": "Show billable batches and tracked users, by month.",
        "uid2": "Enrich profiles with UID2, from an operator.",
    },
    "Privacy": {
        "access": "Write everything the store holds about one person.",
        "forget": "Erase people with all their data, for good.",
        "privacy": "Record, carry out and show the requests of people (OpenDSR).",
        "retention": "Show, set and apply how long profiles are kept.",
    },
    "Set up": {
        "feeds": "List, add and change feeds.",
        "config": "Apply, change or write the configuration.",
        "serve": "Serve the Profile API, the Events API and IDSync until Ctrl-C.",
        "credentials": "Make credentials for clients and feeds of `profilectl serve`.",
        "check": "Check the promises of the store; exit with 6 if one is broken.",
        "backup": "Copy the store, also while others read it.",
        "restore": "Make the store from a backup, after checking that it is sound.",
        "compact": "Merge the tables of older imports, and free unused space.",
        "stats": "Show how many profiles and values the store has, and its size.",
        "schema": "Print the JSON Schema of what a command prints.",
        "help": "Show the help of a command.",
    },
}
"""The summaries by group and command, in the order of the help."""
EXITS: Mapping[int, str] = {
    0: "done: all rows used, or nothing to do",
    1: "a fault of profilectl; the store is as before",
    2: "wrong usage",
    3: "done, but rows were rejected",
    4: "the input was refused; nothing was written",
    5: "the store is busy (--wait SECONDS)",
    6: "no store, or it cannot be used",
    7: "nobody found",
    8: "a saved plan no longer fits the store",
    9: "not finished: the same command goes on where it stopped",
    10: "only with --detailed-exitcode: there are changes",
    129: "its terminal was closed (SIGHUP)",
    130: "interrupted by Ctrl-C: what it was writing is whole, or not there",
    143: "ended by SIGTERM, as by kill and timeout",
}
"""What each exit status means."""
VARIABLES: Mapping[str, str] = {
    "PROFILECTL_STORE": "the store, as --store",
    "PROFILECTL_WORKSPACE": "the workspace, as --workspace",
    "PROFILECTL_STORE_KEY": "the file with the key of an encrypted store, as --store-key",
    "PROFILECTL_SUPPRESSION_KEY": "the key that keeps erased people out, as --suppression-key",
    "PROFILECTL_PASSPHRASE": "the passphrase of an encrypted backup",
    "PROFILECTL_PUSH_KEY": "the key that `push` sends with",
    "PROFILECTL_PUSH_SECRET": "the secret that `push` sends with",
    "PROFILECTL_CREDENTIALS": "the file with the credentials of `serve`",
    "PROFILECTL_OUTPUT_NAME_SECRET": "the secret of the output NAME; also ..._KEY and ..._HEADER",
    "PROFILECTL_TRACEBACK": "1: show where a fault of profilectl happened",
    "NO_COLOR": "print without colours",
    "COLUMNS": "the width of what is printed, in characters",
}
"""The variables of the environment that the command line reads."""
