"""A store in which Erika has left a trace of every kind; she is to be forgotten."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from support.doors import made_once
from support.erasing import done, in_file, in_tables, profiles

# Everything that is of this person alone. What others share (the tier, the city) is not in the
# list.
DEVICE = "deadbeef-1111-2222-3333-444444444444"
ERIKA = {
    "customer_id": "CUST-ERIKA-4711",
    "email": "Erika.Mustermann@example.org",
    "old_email": "erika.old@example.org",
    "phone": "+4915155512345",
    "device": DEVICE,
    "name": "Erikaaa",
    "street": "Nachtigallenweg 17",
    "blocked": "blockiert-erika",
    "consent": "consent-of-erika",
    "note": "note-by-hand-erika",
    "undone": "undone-by-hand-erika",
    "rare": "rare-value-erika",
    "request": "request-of-erika-1",
    "moved": "moved-erika@example.org",
}


def made(folder: Path, *, rows: int = 40) -> Path:
    """Make a store with several imports, corrections by hand, an alias, a moved identity, rejects,
    blocked values.
    """
    people = folder / "people.csv"
    with people.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["customer_id", "email", "mobile_number", "$FirstName", "street", "tier"])
        writer.writerow(
            [
                ERIKA["customer_id"],
                ERIKA["old_email"],
                ERIKA["phone"],
                ERIKA["name"],
                ERIKA["street"],
                "gold",
            ]
        )
        writer.writerows(
            [
                f"C{n:05}",
                f"p{n:05}@example.com",
                f"+49{n:08}",
                f"First{n}",
                f"Street {n}",
                "gold" if n % 2 else "silver",
            ]
            for n in range(rows)
        )
    documents = [
        {
            "user_identities": {"other": "orphan-1", "email": ERIKA["moved"]},
            "user_attributes": {"tier": "none"},
        },
        {
            "user_identities": {"customer_id": ERIKA["customer_id"], "email": ERIKA["email"]},
            "device_info": {"ios_idfv": DEVICE, "platform": "iOS"},
            "consent_state": {
                "gdpr": {
                    "marketing": {
                        "consented": True,
                        "timestamp_unixtime_ms": 5,
                        "document": ERIKA["consent"],
                    }
                }
            },
            "events": [
                {
                    "event_type": "custom_event",
                    "data": {"event_name": "seen", "custom_event_type": "other"},
                }
            ],
            "source_request_id": ERIKA["request"],
        },
    ]
    (folder / "app.jsonl").write_text("".join(json.dumps(one) + "\n" for one in documents))
    rare = (
        {"email": ERIKA["moved"]}
        | {f"k{n}": f"v{n}" for n in range(60)}
        | {"rare_key": ERIKA["rare"]}
    )
    (folder / "rare.jsonl").write_text(
        "".join(json.dumps({"customer_id": f"C{n:05}", f"x{n}": "1"}) + "\n" for n in range(30))
        + json.dumps({"customer_id": ERIKA["customer_id"], **rare})
        + "\n"
    )
    (folder / "partner.csv").write_text(
        f"customer_id,street,tier\n{ERIKA['customer_id']},{ERIKA['blocked']},silver\n"
        "C00001,elsewhere,silver\n"
    )
    # Rejected, though it names her: the text lies in the store.
    (folder / "bad.jsonl").write_text(
        f'{{"email": "{ERIKA["email"].upper()}", "broken": }}\n{{"email":'
        f' "other@example.com", "broken": }}\n'
        '{"customer_id": "C00002", "tier": "bronze"}\n'
    )
    config = (
        '[identity]\nstrategy = "conversion"\nlogin = ["customer_id"]\nunique ='
        ' ["customer_id", "email"]\nimmutable = ["customer_id"]\n'
    )
    (folder / "c.toml").write_text(config)
    done(folder, "config", "apply", "c.toml")
    done(folder, "import", "people.csv", "--feed", "crm")
    done(folder, "import", "app.jsonl", "--feed", "app", "--source", "sdk")
    done(folder, "import", "rare.jsonl", "--feed", "crm")
    done(folder, "import", "partner.csv", "--feed", "punchh", "--source", "partner")
    done(folder, "import", "bad.jsonl", "--feed", "crm", ok=(3,))
    done(folder, "set", "--email", ERIKA["moved"], f"note={ERIKA['note']}")
    done(folder, "modify", "--customer-id", ERIKA["customer_id"], "--add", "facebook=fb-erika-99")
    done(folder, "set", "--customer-id", ERIKA["customer_id"], f"undone={ERIKA['undone']}")
    done(folder, "imports", "undo", "8", "--yes")
    anonymous = profiles(folder, "--other", "orphan-1")[0]["mpid"]
    erika = profiles(folder, "--customer-id", ERIKA["customer_id"])[0]["mpid"]
    done(folder, "alias", f"--from={anonymous}", f"--to={erika}", "--now")
    return folder


ALL = [*ERIKA.values(), "fb-erika-99"]


def is_gone(folder: Path) -> None:
    assert in_file(folder, ALL) == []
    assert in_tables(folder, ALL) == []
    done(folder, "check")


def forgotten(folder: Path, *arguments: str, ok: tuple[int, ...] = (0,)) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        done(folder, "forget", "--yes", *arguments, "--json", ok=ok).stdout
    )
    return document


store_with_erika = made_once(made)
"""Put such a store into a folder."""
