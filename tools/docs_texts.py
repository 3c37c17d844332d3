"""What the tables of the documents say that the code cannot. tools/docs_tables.py puts the two together."""

from __future__ import annotations

KINDS = {
    "session": "conversations, preferences",
    "process": "plans, jobs, approvals",
    "model": "embeddings, features, personalisation",
    "system": "counters, quotas, flags",
    "default": "anything else",
}

# Exception of the Python client, and what to do.
ERRORS = {
    "InvalidRequest": ("InvalidRequest", "Change the request. `BadRequest` names the field."),
    "VersionConflict": (
        "VersionConflict",
        "Another writer was faster. Read again, decide again. `ConflictInfo` has the current version.",
    ),
    "FailedPrecondition": (
        "FailedPrecondition",
        "Fix what the reason names. EPOCH_CHANGED: the store went back in time; forget the version and read again.",
    ),
    "OutOfRange": (
        "WatchExpired",
        "Some of the changes since the `resume_token` are forgotten. Watch again with `snapshot`, and without the token.",
    ),
    "CheckpointNotFound": ("NotFound", "There is no such checkpoint, or none of that key or prefix. List them."),
    "Unsupported": ("CapabilityMissing", "This release cannot do it."),
    "LimitExceeded": (
        "LimitExceeded",
        "Nothing was written. Slow down, and try again after `RetryInfo`. STORAGE_FULL: make room.",
    ),
    "Unavailable": ("Unavailable", "Nothing was written. Try again after `RetryInfo`."),
    "DeadlineExceeded": ("DeadlineExceeded", "Nothing was written. Try again with more time."),
    "OutcomeUnknown": (
        "WriteOutcomeUnknown",
        "The write may have landed. Repeat it with the same `request_id`: it takes effect once, and you learn the truth.",
    ),
    "DataLoss": ("DataLoss", "Stored bytes do not verify. Stop, and look at the data directory."),
    "Defect": ("InternalError", "A bug. The daemon's log has the traceback."),
}

COMMON_SETTINGS = (
    "data_dir",
    "listen",
    "http_listen",
    "tiers.hot",
    "tiers.warm",
    "namespaces.NAME.ttl",
    "namespaces.NAME.on_outage",
    "cache_bytes_max",
    "near_bytes_max",
    "journal_bytes_max",
    "journal_age_max_s",
    "grace_period_s",
    "log_format",
)

DEFAULTS = {
    "data_dir": "`./.state-sidecar`",
    "listen": "`127.0.0.1:7420`, `unix://<data_dir>/state.sock`",
    "tiers.warm": "`sqlite://<data_dir>/state.db`",
    "tiers.cold": "`file://<data_dir>/cold`",
    "namespaces.NAME.kind": "`NAME`, if it is a kind; else `default`",
}

_LATER = "Not in this release"

SETTINGS = {
    "app": "Name of the application. `status` shows it. Daemons that share a server share state only under the same name.",
    "data_dir": "Where the embedded tiers keep their files. One daemon at a time.",
    "listen": "Where gRPC is served: `host:port` on loopback, `unix:///path`, or several with commas.",
    "http_listen": "Where `/healthz`, `/readyz` and `/metrics` answer. Empty: nowhere. They tell no keys and no values.",
    "tiers.hot": "The cache, and the authority of `authority: hot`: `memory://`, `redis://HOST`, `rediss://`, `redis+cluster://`, `redis+sentinel://`, `memcached://`, `none://`.",
    "tiers.warm": "The authority of everything else: `sqlite:///path`, `postgresql://HOST/DATABASE`, `dynamodb://TABLE`, `memory://` (nothing survives a stop), `none://`.",
    "tiers.cold": "Large objects, for a warm tier that survives a stop: `file:///path`, `s3://BUCKET/PREFIX`, `none://`.",
    "namespaces.NAME.kind": "The preset that the other keys change.",
    "namespaces.NAME.authority": "The tier whose commit is the truth: `warm` or `hot`.",
    "namespaces.NAME.ttl": "How long an entry lives when its write doesn't say. `none`: without end.",
    "namespaces.NAME.sliding": "Whether a use of an entry starts its ttl again.",
    "namespaces.NAME.on_outage": "While the authority is away, Set and Update: `passthrough` (answer, and say that nothing was kept), `buffer` (keep it in a journal on this machine until the authority is back, and say BUFFERED) or `reject`.",
    "namespaces.NAME.reconcile": "A buffered Set whose key somebody else changed meanwhile: `reject` (dead-letter it), `last_write_wins` or `merge` (three-way, JSON).",
    "namespaces.NAME.checkpoint.every": "After how many changes of a key a checkpoint of it is made, in the same commit. 0: never.",
    "namespaces.NAME.checkpoint.keep": "How many automatic checkpoints of a key are kept: the newest.",
    "namespaces.NAME.checkpoint.max_age": "How long checkpoints are kept, whoever made them. `none`: without end.",
    "namespaces.NAME.near.enabled": "Whether copies may be held in the daemon's own process; needs a hot tier on Redis, whose channel tells what others changed.",
    "namespaces.NAME.near.max_age": "The greatest age of such a copy.",
    "namespaces.NAME.value_bytes_max": "The largest value; up to 64MiB is tried. Below `limits.message_bytes_max`.",
    "namespaces.NAME.large_value_bytes": "Values above this are kept in the cold tier, with a pointer in the warm one. `none`: none for its size.",
    "namespaces.NAME.schema.version": "The schema that this daemon's values have: see [schemas](schemas.md). 0: the namespace has none.",
    "namespaces.NAME.schema.migrations": "The steps that lead to it, the last to `version`: `module:function`, or a mapping of `up` and `down`, each that or a list of operations.",
    "namespaces.NAME.archive_after": "Values that were not written, nor read from the authority, for so long move to the cold tier; a read brings them back. `none`: never.",
    "namespaces.NAME.history": f"{_LATER}: refused.",
    "namespaces.NAME.outbox.sink": "Where the namespace's messages go, if not to `outbox.sink`. `none`: they wait for Consume.",
    "limits.ttl_max": "The longest ttl.",
    "limits.labels_max": "Labels of an entry.",
    "limits.batch_keys_max": "Keys of a BatchGet.",
    "limits.operations_max": "Operations of a Transact.",
    "limits.items_max": "Items of one append.",
    "limits.page_size_max": "Entries of a page of List.",
    "limits.page_size_default": "Entries of a page whose request doesn't say.",
    "limits.page_bytes_max": "Values of a page together.",
    "limits.message_bytes_max": "A gRPC message. Unset, it grows with the largest `value_bytes_max`.",
    "outbox.sink": "Where messages go: `redis://`, `https://`, `nats://`, `kafka://`, `sqs://` or `sns://`; see [outbox](outbox.md). None: they wait for Consume.",
    "outbox.in_flight_max": "Messages that are published, or being published, and not yet marked as delivered: what a crash sends out twice at most.",
    "outbox.attempts_max": "After so many refusals a message is a dead letter.",
    "outbox.retry_delay_s": "Before the second attempt; doubled with each, up to a minute.",
    "outbox.lease_s": "After so long others deliver for a daemon that died.",
    "outbox.poll_interval_s": "How often messages of other daemons are looked for.",
    "outbox.pending_max": "Messages of a namespace that may wait. Writes with more get OUTBOX_FULL.",
    "outbox.dead_letter_retention_s": "How long dead letters are kept.",
    "telemetry.otlp_endpoint": "The collector that gets traces and metrics by OTLP over gRPC: `http://host:4317`, or `https://`; see [metrics](metrics.md). None: what `OTEL_EXPORTER_OTLP_ENDPOINT` says; empty: none.",
    "telemetry.trace_ratio": "The share of requests that are traced, of those whose caller doesn't say whether to.",
    "telemetry.export_interval_s": "How often the collector gets metrics.",
    "telemetry.census_interval_s": "How often entries and bytes are counted, by namespace and tier; less often where counting takes long.",
    "cache_bytes_max": "Memory of the `memory://` cache. The least recently used goes first.",
    "near_bytes_max": "Memory of the near tier: copies in this process before a hot tier on Redis. What is seldom used goes first.",
    "journal_bytes_max": "Disk (and memory) of the journal in `data_dir`, for namespaces with `on_outage: buffer`. What does not fit is refused, JOURNAL_FULL.",
    "journal_age_max_s": "A buffered write that the authority did not get within this time is dead-lettered, not applied.",
    "write_timeout_s": "The longest that a write may take. The caller's deadline may be shorter.",
    "read_timeout_s": "As `write_timeout_s`, for a read.",
    "grace_period_s": "How long a drain waits for the requests under way.",
    "sweep_interval_s": "How often expired entries are removed. They are never returned in the meantime.",
    "cleaning_interval_s": "How soon after a pass a background job may look again for what there is to clean, at the least; most jobs wait longer by themselves: see [cleaning](cleaning.md).",
    "tombstone_retention_s": "How long a deletion is remembered.",
    "request_id_retention_s": "How long a `request_id` is remembered.",
    "requests_max": "Requests under way. More get QUEUE_FULL.",
    "watches_max": "Watchers. More get QUEUE_FULL.",
    "commit_queue_max": "Writes that wait for the database. More get QUEUE_FULL.",
    "followups_max": "Cache fills and expiry moves that wait. More are dropped: they are not needed for correctness.",
    "log_level": "`debug`, `info`, `warning` or `error`.",
    "log_format": "`text` or `json`.",
}
