"""The documents of what leaves, of what people ask for, and of how long they are kept."""

from __future__ import annotations

from dataclasses import dataclass

from profilectl.schemas.members import (
    LEFT_OUT,
    Counts,
    Json,
    Members,
    Mpid,
    PersonJson,
    PlaceJson,
    ServerJson,
)


@dataclass(frozen=True, kw_only=True)
class PushedRowsJson:
    """How far a push has come, in profiles or batches of a file."""

    total: int
    """All."""
    done: int
    """Sent, or refused."""
    left: int
    """To be sent yet."""
    unchanged: int
    """Left out, because the platform has them as they are."""
    without_batch: int
    """Without anything to send."""


@dataclass(frozen=True, kw_only=True)
class PushedBatchesJson:
    """The batches of a push."""

    packed: int
    """Put together."""
    accepted: int
    """Accepted by the platform."""
    accepted_before: int
    """Accepted in an earlier run of the same push."""
    refused: int
    """Refused, by us or by the platform."""


@dataclass(frozen=True, kw_only=True)
class EstimateJson:
    """What a push would take."""

    batches: int
    """How many batches."""
    requests: int
    """How many requests."""
    bytes: int
    """How many bytes."""
    rate: float
    """How many requests a second."""
    seconds: float
    """How long."""


@dataclass(frozen=True, kw_only=True)
class PushJson:
    """What a push sent."""

    push: int | None
    """The number of the push; null: it was only tried."""
    of: str
    """What was pushed."""
    address: str | None
    """Where to; null: nothing was sent."""
    dry_run: str | None
    """The file that the requests were written to instead (`--dry-run`)."""
    resumed: bool
    """Whether it went on with an earlier push."""
    finished: bool
    """Whether all of it was sent."""
    rows: PushedRowsJson
    """How far it has come."""
    batches: PushedBatchesJson
    """Its batches."""
    reasons: Counts
    """Code -> how many batches were refused for it."""
    requests: int
    """How many requests were made."""
    bytes: int
    """How many bytes were sent."""
    retries: int
    """How often something was sent again."""
    throttled: Counts
    """Why the platform asked to wait -> how often."""
    refused: str | None
    """The file of refused batches."""
    come_back_ms: int | None
    """When the platform asks to come back."""
    elapsed_ms: int
    """The milliseconds that it took."""
    historical: int
    """How many batches are for the historical endpoint."""
    warnings: list[str]
    """Sentences that a person should know."""
    estimate: EstimateJson | None
    """What it would take (`--estimate`)."""


@dataclass(frozen=True, kw_only=True)
class RefusedBatchJson:
    """A batch that was refused, in the file of `push`."""

    mpid: Mpid = LEFT_OUT
    """The profile ..."""
    file: str = LEFT_OUT
    """... or the file of batches that was pushed ..."""
    line: int = LEFT_OUT
    """... and the line."""
    part: int
    """Which batch of it."""
    code: str
    """Why."""
    message: str
    """Why, as a sentence."""
    raw: str | None
    """The batch."""


@dataclass(frozen=True, kw_only=True)
class ForwardedJson:
    """What an output got."""

    output: str
    """The output."""
    delivered: int
    """How many batches were delivered."""
    audience_changes: int
    """How many changes of audiences."""
    members: int | None
    """How many members the list has that was written; null: none was."""
    known: int
    """How many the output knew already."""
    dead: int
    """How many will not be delivered any more."""
    not_sent: Counts
    """Why not -> how many."""
    waiting: int
    """How many wait yet."""
    stopped: str | None
    """Why it stopped."""
    come_back_ms: int | None
    """When the output asks to come back."""


@dataclass(frozen=True, kw_only=True)
class WaitingJson:
    """What waits for an output."""

    output: str
    """The output."""
    feed: str | None
    """The feed of the batches ..."""
    audience: str | None
    """... or the audience of the messages."""
    waiting: int
    """How many wait."""
    dead: int
    """How many will not be delivered any more."""
    oldest_ms: int | None
    """The time of the oldest that waits."""
    connection: str | None
    """The connection by which they leave; null: there is none any more."""
    active: bool
    """Whether it is active."""


@dataclass(frozen=True, kw_only=True)
class DeadBatchJson(PlaceJson):
    """A batch that was not delivered."""

    output: str
    """The output."""
    feed: str
    """The feed."""
    audience: None
    """None: it is a batch."""
    import_: int
    """The import."""
    why: str
    """Why, as a sentence."""
    failed_ms: int
    """When it failed."""


@dataclass(frozen=True, kw_only=True)
class DeadMessageJson:
    """A message about an audience that was not delivered."""

    output: str
    """The output."""
    feed: None
    """None: it is a message."""
    audience: str
    """The audience."""
    action: str
    """What it says of the member: add, remove ..."""
    mpid: Mpid
    """The member."""
    why: str
    """What the receiver said."""
    failed_ms: int
    """When it failed."""


@dataclass(frozen=True, kw_only=True)
class OutboxJson:
    """What waits to leave, and what is dead."""

    outputs: list[WaitingJson]
    """What waits, by output and feed or audience."""
    left: dict[str, Counts]
    """Output -> outcome -> how many left."""
    dead: list[DeadBatchJson | DeadMessageJson]
    """What is dead, the oldest first."""


@dataclass(frozen=True, kw_only=True)
class RetriedJson:
    """What waits again."""

    waiting_again: int
    """How many."""


@dataclass(frozen=True, kw_only=True)
class DroppedJson:
    """What was dropped from the outbox, or with `dry_run` would be."""

    dropped: int
    """How many."""
    dry_run: bool
    """Whether nothing was dropped."""


@dataclass(frozen=True, kw_only=True)
class LeavingJson:
    """Where a batch would leave to."""

    output: str
    """The output."""
    leaves: bool
    """Whether it would."""
    reason: str | None
    """Why not."""
    batch: Members | None
    """The batch as it would leave."""


@dataclass(frozen=True, kw_only=True)
class EnrichedJson(PlaceJson):
    """A row as a batch that leaves; nothing is stored or sent."""

    code: str | None
    """Why the row belongs to nobody."""
    enriched: bool
    """Whether what is known of the person was added."""
    batch: Members
    """The batch, in the platform's form."""
    outputs: list[LeavingJson]
    """Where it would leave to."""


@dataclass(frozen=True, kw_only=True)
class MonthJson:
    """The usage of a month."""

    month: str
    """The month, such as 2026-11."""
    mtu: int
    """The users that were seen."""
    batches: int
    """The batches."""
    billable: int
    """Of these, billable ones."""
    not_billable: int
    """The others."""
    events: int
    """The events."""


@dataclass(frozen=True, kw_only=True)
class ImportUsageJson:
    """The usage of an import in a month."""

    month: str
    """The month."""
    feed: str
    """The feed."""
    import_: int
    """The import."""
    batches: int
    """The batches."""
    with_events: int
    """Of these, with events."""
    update_only_misses: int
    """Those that update-only kept out."""
    read_only: int
    """Those of feeds that only read."""
    billable: int
    """The billable ones."""
    not_billable: int
    """The others."""
    events: int
    """The events."""


@dataclass(frozen=True, kw_only=True)
class UsageJson:
    """What the platform would bill."""

    months: list[MonthJson]
    """By month."""
    imports: list[ImportUsageJson]
    """By month and import."""


@dataclass(frozen=True, kw_only=True)
class AskedProfilesJson:
    """The profiles of a run of UID2."""

    due: int
    """To be asked for."""
    waiting: int
    """Not yet, because the operator said when to come back."""
    nameless: int
    """Without an e-mail address or phone number."""
    asked: int
    """Asked for."""


@dataclass(frozen=True, kw_only=True)
class AskedIdentitiesJson:
    """The identities of a run of UID2."""

    emails: int
    """E-mail addresses."""
    phones: int
    """Phone numbers."""
    unusable_emails: int
    """Texts that are no e-mail address."""
    unusable_phones: int
    """Texts that are no phone number."""


@dataclass(frozen=True, kw_only=True)
class Uid2Json:
    """What an operator of UID2 was asked, and answered."""

    audience: str | None
    """The audience that was asked for."""
    older_than_days: int
    """Only UIDs older than this were asked for again."""
    feed: str
    """The feed that brought the answers."""
    partner_identity: str
    """The name of the partner identity."""
    dry_run: bool
    """Whether nobody was asked."""
    profiles: AskedProfilesJson
    """The profiles."""
    identities: AskedIdentitiesJson
    """The identities."""
    requests: int
    """How many requests were made."""
    answers: Counts
    """Answer -> how often."""
    dropped: int
    """How many answers came too late."""
    imports: list[int]
    """The imports that hold the answers."""


@dataclass(frozen=True, kw_only=True)
class ClearedJson:
    """Texts that were emptied of the erased."""

    rejects: int
    """Rejects."""
    corrections: int
    """Corrections."""
    identities_of_others: int
    """Identities that other profiles lost."""
    requests: int
    """Requests of people."""


@dataclass(frozen=True, kw_only=True)
class UnknownPersonJson:
    """Somebody who was not found."""

    line: int = LEFT_OUT
    """The line of the file that names them."""
    type: str
    """The identity type ..."""
    value: str
    """... and the identity."""
    why: str
    """Why not, as a sentence."""


@dataclass(frozen=True, kw_only=True)
class LeftFileJson:
    """A file that a killed command left."""

    path: str
    """Its path."""
    why: str
    """Why it is there yet."""


@dataclass(frozen=True, kw_only=True)
class NotTouchedJson:
    """What may hold the erased, and is not the store's to change."""

    files: list[str]
    """Files that were imported."""
    rejects: list[str]
    """Files of rejects."""
    answers: list[str]
    """Files of answers to requests."""
    backups: list[str]
    """Backups."""
    left_behind: list[LeftFileJson]
    """Files that killed commands left."""
    outputs: list[str]
    """Outputs that got batches of them."""
    outputs_that_may_have: list[str]
    """Outputs that may have."""


@dataclass(frozen=True, kw_only=True)
class QuotedJson:
    """A name or text of the configuration that quotes the erased."""

    kind: str
    """What it is."""
    name: str
    """Its name."""


@dataclass(frozen=True, kw_only=True)
class QuotedByOthersJson:
    """Rows of others that quote the erased."""

    what: str
    """What they are."""
    rows: int
    """How many there are."""


@dataclass(frozen=True, kw_only=True)
class ForgetJson:
    """Who was erased, or with `dry_run` would be."""

    dry_run: bool
    """Whether nothing was erased."""
    allow_return: bool
    """Whether they may come back."""
    profiles: list[PersonJson]
    """The profiles."""
    rows: Counts
    """Kind of table -> how many rows."""
    suppressed: int
    """How many identities are kept out from now on."""
    lifted: int
    """How many may come back."""
    cleared: ClearedJson
    """Texts that were emptied of them."""
    losing: list[PersonJson]
    """Profiles that lose something by it."""
    opt_outs_kept: list[PersonJson]
    """Profiles that had opted out, which stays known."""
    also_held_by: list[PersonJson]
    """Profiles that have the same identity and stay."""
    not_reached: int
    """How many profiles are protected."""
    not_found: list[UnknownPersonJson]
    """Who was not found."""
    not_touched: NotTouchedJson
    """What may hold them yet."""
    quoted: list[QuotedJson]
    """What of the configuration quotes them."""
    quoted_by_others: list[QuotedByOthersJson] | None
    """Rows of others that quote them; null: not looked for."""
    removals: Counts
    """Output -> how many removals from audiences it will be told."""
    suppression_key: str | None
    """The file of the key that keeps them out."""
    still_told_by: list[ServerJson]
    """Servers that still tell of them."""


@dataclass(frozen=True, kw_only=True)
class RequestJson:
    """A request of a person, in the words of OpenDSR."""

    controller_id: str
    """Who keeps the data."""
    subject_request_id: str
    """The id of the request."""
    subject_request_type: str
    """What is asked for: erasure, access, portability ..."""
    regulation: str
    """The regulation."""
    request_status: str
    """How far it is."""
    submitted_time: str
    """When it was made."""
    received_time: str
    """When it came."""
    expected_completion_time: str
    """When it will be carried out."""
    completed_time: str | None
    """When it was."""
    group_id: str | None
    """The group of requests that it belongs to."""
    status_callback_urls: list[Json]
    """Where its status is to be told."""
    api_version: str
    """The version of OpenDSR."""
    results_url: str | None
    """Where the answer is."""
    profiles: int | None
    """How many profiles it was about; null: not carried out yet."""
    encoded_request: str | None
    """The request itself, in base64."""
    still_told_by: list[ServerJson] = LEFT_OUT
    """Servers that still tell of the person."""


@dataclass(frozen=True, kw_only=True)
class LiftedJson:
    """How many erased identities may come back."""

    lifted: int
    """How many."""


@dataclass(frozen=True, kw_only=True)
class AppliedRetentionJson:
    """A time that retention was applied."""

    at_ms: int
    """When."""
    gone: int
    """How many profiles went."""
    stubs: int
    """How many are left as stubs."""


@dataclass(frozen=True, kw_only=True)
class RetentionJson:
    """How long profiles are kept."""

    lifetime_days: int | None
    """After how many days without a row a profile expires; null: never."""
    retention_days: int | None
    """After how many days rows go; null: never."""
    lifetime_profiles: bool | None
    """Whether expired profiles stay as stubs; null: as by default."""
    applied: list[AppliedRetentionJson]
    """The times that it was applied."""


@dataclass(frozen=True, kw_only=True)
class RetentionAppliedJson:
    """What retention removed, or with `dry_run` would remove."""

    dry_run: bool
    """Whether nothing was removed."""
    now_ms: int
    """The time that was taken for now."""
    stubs: int
    """How many profiles became stubs."""
    gone: int
    """How many profiles went."""
    events: int
    """How many events."""
    rows: Counts
    """Kind of table -> how many rows went or were emptied."""
    still_told_by: list[ServerJson]
    """Servers that still tell of them."""
