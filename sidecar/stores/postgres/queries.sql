-- Every statement of the store, each under its name, for the schema `state_sidecar`; another is put in its place when
-- they are read. Parameters only. Sets of rows come in as arrays, one a column, and go through unnest.

-- begin --
BEGIN ISOLATION LEVEL READ COMMITTED;

-- commit --
COMMIT;

-- rollback --
ROLLBACK;

-- bound transaction --
-- Bounds for this transaction only: a pooler may give the connection to another one next. A commit is always durable.
-- Statements that are prepared while a table is small are used when it is large: they must not read all of it. Nothing
-- here is worth compiling, which older servers would do for what they count as the cost of a scan that is off. $4: whether
-- a prepared statement is planned again for its parameters (plan_cache_mode).
SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true),
  set_config('idle_in_transaction_session_timeout', $3, true), set_config('enable_seqscan', 'off', true),
  set_config('jit', 'off', true), set_config('plan_cache_mode', $4, true),
  set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
    ELSE current_setting('synchronous_commit') END, true);

-- begin reading --
-- Bounds as above, the clock, and whether this is still a primary.
SELECT state_sidecar.now_ms(), pg_is_in_recovery(), set_config('lock_timeout', $1, true),
  set_config('statement_timeout', $2, true), set_config('enable_seqscan', 'off', true),
  set_config('jit', 'off', true), set_config('plan_cache_mode', $3, true);

-- lock entries --
-- Locked in the order of the arrays, which is that of keys, as every transaction does; each row as it is once the lock is
-- ours. Values only of those that are to be changed in place ($3: 1).
SELECT w.namespace, w.key, e.version, e.delete_time, e.create_time, e.update_time, e.expire_time, e.ttl_ms,
  e.schema_version, e.content_type, e.labels, e.value_checksum, e.header_checksum,
  CASE WHEN w.valued = 1 THEN e.value END
FROM unnest($1::bytea[], $2::bytea[], $3::bigint[]) AS w (namespace, key, valued)
CROSS JOIN LATERAL (
  SELECT * FROM state_sidecar.entries WHERE namespace = w.namespace AND key = w.key FOR NO KEY UPDATE
) AS e;

-- load requests --
SELECT r.namespace, r.request_id, r.fingerprint, r.create_time, r.checksum, r.outcome, r.returned
FROM unnest($1::bytea[], $2::bytea[]) AS w (namespace, request_id)
CROSS JOIN LATERAL (
  SELECT * FROM state_sidecar.requests WHERE namespace = w.namespace AND request_id = w.request_id OFFSET 0
) AS r;

-- lock request --
SELECT fingerprint, create_time, checksum, outcome, returned
FROM state_sidecar.requests WHERE namespace = $1 AND request_id = $2 FOR NO KEY UPDATE;

-- draw --
-- After the locks. Announces by a shared advisory lock that change rows with ids above the last value may be in flight;
-- then the clock, the epoch, what the server is, and $1 sequences for versions. $2: what tells our locks from others'.
SELECT pg_advisory_xact_lock_shared($2::bigint | (SELECT last_value FROM state_sidecar.change_ids)),
  state_sidecar.now_ms(), m.epoch, (SELECT last_value FROM state_sidecar.versions),
  (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
  left(pg_walfile_name(pg_current_wal_lsn()), 8),
  array_send(ARRAY(SELECT nextval('state_sidecar.versions') FROM generate_series(1, $1::bigint)))
FROM state_sidecar.meta AS m;

-- insert entries --
INSERT INTO state_sidecar.entries
  (namespace, key, version, delete_time, create_time, update_time, expire_time, ttl_ms, schema_version, content_type,
   labels, value_checksum, header_checksum, value)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
  $8::bigint[], $9::bigint[], $10::bytea[], $11::bytea[], $12::bigint[], $13::bigint[], $14::bytea[]);

-- update entries --
-- Rows that are there, and locked by this transaction: the conflict leads to them without a plan that could be wrong.
INSERT INTO state_sidecar.entries
  (namespace, key, version, delete_time, create_time, update_time, expire_time, ttl_ms, schema_version, content_type,
   labels, value_checksum, header_checksum, value)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
  $8::bigint[], $9::bigint[], $10::bytea[], $11::bytea[], $12::bigint[], $13::bigint[], $14::bytea[])
ON CONFLICT (namespace, key) DO UPDATE SET
  version = excluded.version, delete_time = excluded.delete_time, create_time = excluded.create_time,
  update_time = excluded.update_time, expire_time = excluded.expire_time, ttl_ms = excluded.ttl_ms,
  schema_version = excluded.schema_version, content_type = excluded.content_type, labels = excluded.labels,
  value_checksum = excluded.value_checksum, header_checksum = excluded.header_checksum, value = excluded.value;

-- update ends --
-- Only the ends of entries: their versions and values stay.
UPDATE state_sidecar.entries AS e SET
  expire_time = n.expire_time, ttl_ms = n.ttl_ms, header_checksum = n.header_checksum
FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[])
  AS n (namespace, key, expire_time, ttl_ms, header_checksum)
WHERE e.namespace = n.namespace AND e.key = n.key;

-- forget entries --
-- Rows that are locked by this transaction, as if they had never been.
DELETE FROM state_sidecar.entries AS e USING unnest($1::bytea[], $2::bytea[]) AS w (namespace, key)
WHERE e.namespace = w.namespace AND e.key = w.key;

-- insert requests --
INSERT INTO state_sidecar.requests (namespace, request_id, fingerprint, create_time, checksum, outcome, returned)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[]);

-- update requests --
INSERT INTO state_sidecar.requests (namespace, request_id, fingerprint, create_time, checksum, outcome, returned)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[])
ON CONFLICT (namespace, request_id) DO UPDATE SET
  fingerprint = excluded.fingerprint, create_time = excluded.create_time, checksum = excluded.checksum,
  outcome = excluded.outcome, returned = excluded.returned;

-- insert changes --
-- Ids are drawn in the order of the arrays.
INSERT INTO state_sidecar.changes (namespace, key, version, kind, commit_time)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::text[], $5::bigint[]);

-- get entries --
SELECT e.namespace, e.key, e.version, e.delete_time, e.create_time, e.update_time, e.expire_time, e.ttl_ms,
  e.schema_version, e.content_type, e.labels, e.value_checksum, e.header_checksum, e.value
FROM unnest($1::bytea[], $2::bytea[]) AS w (namespace, key)
CROSS JOIN LATERAL (
  SELECT * FROM state_sidecar.entries WHERE namespace = w.namespace AND key = w.key OFFSET 0
) AS e;

-- scan entries --
-- Live entries of a key range, in order: those of a page, which is $4 - 1 rows, and $5 bytes of values but at least one
-- row; then the next without its value.
SELECT key, version, delete_time, create_time, update_time, expire_time, ttl_ms, schema_version, content_type, labels,
  value_checksum, header_checksum, CASE WHEN position < $4::bigint AND (position = 1 OR bytes <= $5::bigint) THEN value END
FROM (
  SELECT *, row_number() OVER up_to_here AS position, sum(octet_length(value)) OVER up_to_here AS bytes
  FROM (
    SELECT * FROM state_sidecar.entries
    WHERE namespace = $1 AND key >= $2 AND key < $3 AND delete_time IS NULL
      AND (expire_time IS NULL OR expire_time > (SELECT state_sidecar.now_ms()))
    ORDER BY key LIMIT $4::bigint
  ) AS candidates
  WINDOW up_to_here AS (ORDER BY key ROWS UNBOUNDED PRECEDING)
) AS summed
WHERE position <= 2 OR bytes - octet_length(value) <= $5::bigint
ORDER BY key;

-- scan headers --
-- The same without values.
SELECT key, version, delete_time, create_time, update_time, expire_time, ttl_ms, schema_version, content_type, labels,
  value_checksum, header_checksum
FROM state_sidecar.entries
WHERE namespace = $1 AND key >= $2 AND key < $3 AND delete_time IS NULL
  AND (expire_time IS NULL OR expire_time > (SELECT state_sidecar.now_ms()))
ORDER BY key LIMIT $4::bigint;

-- lock up to horizon --
-- What a deletion by prefix takes next, in the order of keys.
SELECT key, version, delete_time, create_time, update_time, expire_time, ttl_ms, schema_version, content_type, labels,
  value_checksum, header_checksum
FROM state_sidecar.entries
WHERE namespace = $1 AND key >= $2 AND key < $3 AND delete_time IS NULL
  AND (expire_time IS NULL OR expire_time > (SELECT state_sidecar.now_ms())) AND version <= $4::bigint
ORDER BY key LIMIT $5::bigint
FOR NO KEY UPDATE;

-- try to sweep --
-- One daemon at a time; the others find nothing to do.
SELECT pg_try_advisory_xact_lock($1::integer, 2);

-- lock expired --
-- What somebody writes just now is not swept just now. The bucket leads to them, in the index.
SELECT namespace, key, version, delete_time, create_time, update_time, expire_time, ttl_ms, schema_version,
  content_type, labels, value_checksum, header_checksum
FROM state_sidecar.entries
WHERE expire_bucket <= (SELECT state_sidecar.now_ms() >> 16) AND expire_time <= (SELECT state_sidecar.now_ms())
ORDER BY expire_bucket LIMIT $1::bigint
FOR NO KEY UPDATE SKIP LOCKED;

-- forget tombstones --
WITH gone AS (
  DELETE FROM state_sidecar.entries WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM state_sidecar.entries WHERE delete_time <= $1::bigint
    ORDER BY delete_time LIMIT $2::bigint FOR UPDATE SKIP LOCKED))
  RETURNING 1)
SELECT count(*) FROM gone;

-- forget requests --
WITH gone AS (
  DELETE FROM state_sidecar.requests WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM state_sidecar.requests WHERE create_time <= $1::bigint
    ORDER BY create_time LIMIT $2::bigint FOR UPDATE SKIP LOCKED))
  RETURNING 1)
SELECT count(*) FROM gone;

-- forget changes --
-- From the oldest id on, up to the first that is newer and not above $3: what is left has no holes.
WITH oldest AS MATERIALIZED (
  SELECT id, commit_time FROM state_sidecar.changes WHERE id <= $3::bigint ORDER BY id LIMIT $2::bigint
), gone AS (
  DELETE FROM state_sidecar.changes
  WHERE id IN (SELECT id FROM oldest)
    AND id < coalesce((SELECT min(id) FROM oldest WHERE commit_time > $1::bigint), 9223372036854775807)
  RETURNING id
), moved AS (
  UPDATE state_sidecar.meta SET change_floor = greatest(change_floor, (SELECT max(id) FROM gone))
  WHERE EXISTS (SELECT 1 FROM gone)
)
SELECT count(*) FROM gone;

-- remember sequence --
-- Now and then: a later look at the database compares.
UPDATE state_sidecar.meta SET sequence = (SELECT last_value FROM state_sidecar.versions)
WHERE sequence + 65536 <= (SELECT last_value FROM state_sidecar.versions);

-- last change id --
-- Before the locks are looked at.
SELECT last_value FROM state_sidecar.change_ids;

-- oldest in flight --
-- The least id above which a transaction that has not ended may still leave change rows, NULL: there is none.
-- A lock's 64 bits are told as two numbers; the upper 16 are ours, the lower 48 the id. Other schemas may have the same
-- upper ones: ours is that of a transaction which has looked at our meta before, and so holds a lock of that, too. One that
-- has not yet when the locks are told did not exist when the last id was.
WITH locks AS MATERIALIZED (
  SELECT pid, locktype, relation, classid, objid, objsubid, mode FROM pg_locks
  WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT min((classid::bigint & 65535) << 32 | objid::bigint) FROM locks
WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ShareLock' AND classid::bigint >> 16 = $1::bigint
  AND pid IN (SELECT pid FROM locks WHERE locktype = 'relation' AND relation = 'state_sidecar.meta'::regclass);

-- load changes --
-- In one snapshot with what was forgotten. A row without id: there are no changes.
SELECT m.change_floor, c.id, c.namespace, c.key, c.version, c.kind
FROM state_sidecar.meta AS m LEFT JOIN LATERAL (
  SELECT * FROM state_sidecar.changes WHERE id > greatest($1::bigint, m.change_floor) AND id <= $2::bigint
  ORDER BY id LIMIT $3::bigint
) AS c ON true
ORDER BY c.id;

-- count cache --
-- The generation: the same for the cache that was seen before, the next one for another.
UPDATE state_sidecar.meta SET
  generation = generation + CASE WHEN cache_identity <> $1 OR generation = 0 THEN 1 ELSE 0 END, cache_identity = $1
RETURNING generation;

-- cache --
SELECT generation FROM state_sidecar.meta WHERE cache_identity = $1 AND generation > 0;

-- listen --
LISTEN state_sidecar;

-- hint --
-- Without a sync: one that a crash loses would have been of no use after it.
SELECT set_config('synchronous_commit', 'off', true), pg_notify('state_sidecar', $1::text);

-- recognise --
-- What a new connection leads to. The process's number differs from the one that the connection was greeted with where a
-- pooler is between.
SELECT pg_is_in_recovery(), current_setting('server_version_num')::integer, pg_backend_pid(),
  current_setting('server_encoding'), current_setting('fsync');

-- examine --
-- How the server is set up and what our role may do there. Of tables and sequences: those that it may not use.
SELECT current_setting('server_version_num')::integer, r.rolsuper, current_setting('fsync'),
  current_setting('synchronous_commit'), current_setting('full_page_writes'),
  current_setting('transaction_read_only'),
  current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer,
  (SELECT sum(numbackends) FROM pg_stat_database)::integer, r.rolconnlimit, d.datconnlimit,
  (SELECT coalesce(string_agg(c.relname, ', ' ORDER BY c.relname), '') FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'state_sidecar' AND NOT CASE c.relkind
      WHEN 'r' THEN has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
        AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')
      WHEN 'S' THEN has_sequence_privilege(c.oid, 'USAGE')
      ELSE true END)
FROM pg_roles AS r, pg_database AS d WHERE r.rolname = current_user AND d.datname = current_database();

-- find schema --
-- From the catalog as it is committed: what resolves names may not have heard yet of what another daemon just made.
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'state_sidecar'),
  EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'state_sidecar' AND c.relname = 'migrations');

-- load migrations --
SELECT number, release FROM state_sidecar.migrations ORDER BY number;

-- lock preparation --
-- Until the transaction ends, for one daemon at a time.
SELECT pg_advisory_xact_lock($1::integer, 1);

-- make schema --
CREATE SCHEMA state_sidecar;

-- make migrations --
CREATE TABLE IF NOT EXISTS state_sidecar.migrations (
  number integer PRIMARY KEY, release text NOT NULL, apply_time timestamptz NOT NULL DEFAULT now()
);

-- store migration --
INSERT INTO state_sidecar.migrations (number, release) VALUES ($1::integer, $2::text);

-- load identity --
-- What the database was when it was last looked at, and what it is now.
SELECT m.epoch, m.sequence, m.change_floor, m.system_identifier, m.database_oid, m.table_oid, m.timeline,
  (SELECT system_identifier FROM pg_control_system()),
  (SELECT oid::bigint FROM pg_database WHERE datname = current_database()),
  'state_sidecar.meta'::regclass::oid::bigint,
  left(pg_walfile_name(pg_current_wal_lsn()), 8),
  (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
  (SELECT last_value FROM state_sidecar.versions),
  (SELECT last_value FROM state_sidecar.change_ids),
  coalesce((SELECT version FROM state_sidecar.changes ORDER BY id DESC LIMIT 1), 0),
  coalesce((SELECT id FROM state_sidecar.changes ORDER BY id DESC LIMIT 1), 0),
  state_sidecar.now_ms(), m.app
FROM state_sidecar.meta AS m;

-- store app --
-- Whose data this is from now on.
UPDATE state_sidecar.meta SET app = $1::text WHERE app IS NULL;

-- store identity --
UPDATE state_sidecar.meta SET system_identifier = $1::bigint, database_oid = $2::bigint, table_oid = $3::bigint,
  timeline = $4::text;

-- raise epoch --
-- What readers of changes and holders of copies have seen may be undone: a gap to the first, misses to the second.
UPDATE state_sidecar.meta SET
  epoch = $1::bigint, generation = generation + 1,
  sequence = setval('state_sidecar.versions', $2::bigint),
  change_floor = setval('state_sidecar.change_ids', $3::bigint);

-- bound count --
-- Bounds for a count: it waits for nobody, ends in time, and takes one process of the server. Then how many pages the table
-- has, and the clock.
SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true), set_config('jit', 'off', true),
  set_config('max_parallel_workers_per_gather', '0', true), set_config('enable_sort', 'off', true),
  pg_relation_size('state_sidecar.entries') / current_setting('block_size')::bigint;

-- count entries --
-- What is live, by namespace, in $2 millionths of the table's pages, the same ones each time: how much grows is not lost in
-- their choice. The length of a value is known without reading it; values are not carried on, still less sorted. $1 is a mark's name as JSON writes it: what follows it
-- is a kind and a size.
SELECT namespace, count(*), sum(size)::bigint, count(*) FILTER (WHERE away > 0),
  coalesce(sum(substring(encode(substring(labels FROM away + octet_length($1::bytea) FOR 40), 'escape')
    FROM '^[a-z]+ ([0-9]{1,18}) ')::bigint) FILTER (WHERE away > 0), 0)::bigint
FROM (
  SELECT namespace, labels, position($1::bytea IN labels) AS away, octet_length(key) + octet_length(value) AS size
  FROM state_sidecar.entries TABLESAMPLE SYSTEM ($2::bigint / 10000.0) REPEATABLE (0)
  WHERE delete_time IS NULL AND (expire_time IS NULL OR expire_time > (SELECT state_sidecar.now_ms()))
  OFFSET 0
) AS counted
GROUP BY namespace;
