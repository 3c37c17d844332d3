-- Every statement of the store, each under its name. Parameters only.

-- load meta --
-- The single row.
SELECT release, database_id, epoch, sequence, reserved, change_id, change_floor, cache_identity, generation, checksum
FROM meta;

-- store meta --
INSERT OR REPLACE INTO meta
  (id, release, database_id, epoch, sequence, reserved, change_id, change_floor, cache_identity, generation, checksum)
VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- load owner --
SELECT app FROM owner;

-- store owner --
INSERT INTO owner (app) VALUES (?);

-- load headers --
-- Keys without their values: most writes need no more, and a large value stays unread. The join is crossed so that the
-- wanted keys lead, each a search in the index.
WITH wanted (namespace, key) AS (VALUES (?, ?))
SELECT e.namespace, e.key, e.version, e.delete_time, e.create_time, e.update_time, e.expire_time, e.ttl_ms,
  e.content_type, e.schema_version, e.labels, e.value_checksum, e.header_checksum
FROM wanted AS w CROSS JOIN entries AS e ON e.namespace = w.namespace AND e.key = w.key;

-- load entries --
WITH wanted (namespace, key) AS (VALUES (?, ?))
SELECT e.namespace, e.key, e.version, e.delete_time, e.create_time, e.update_time, e.expire_time, e.ttl_ms,
  e.content_type, e.schema_version, e.labels, e.value_checksum, e.header_checksum, e.value
FROM wanted AS w CROSS JOIN entries AS e ON e.namespace = w.namespace AND e.key = w.key;

-- load requests --
WITH wanted (namespace, request_id) AS (VALUES (?, ?))
SELECT r.namespace, r.request_id, r.fingerprint, r.create_time, r.outcome, r.returned, r.checksum
FROM wanted AS w CROSS JOIN requests AS r ON r.namespace = w.namespace AND r.request_id = w.request_id;

-- store entry --
INSERT INTO entries
  (namespace, key, version, delete_time, create_time, update_time, expire_time, ttl_ms, content_type, schema_version,
   labels, value_checksum, header_checksum, value)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (namespace, key) DO UPDATE SET
  version = excluded.version, delete_time = excluded.delete_time, create_time = excluded.create_time,
  update_time = excluded.update_time, expire_time = excluded.expire_time, ttl_ms = excluded.ttl_ms,
  content_type = excluded.content_type, schema_version = excluded.schema_version, labels = excluded.labels,
  value_checksum = excluded.value_checksum, header_checksum = excluded.header_checksum, value = excluded.value;

-- forget entry --
DELETE FROM entries WHERE namespace = ? AND key = ?;

-- store end --
-- Only the end of an entry: its version and value stay.
UPDATE entries SET expire_time = ?, ttl_ms = ?, header_checksum = ? WHERE namespace = ? AND key = ?;

-- store request --
INSERT OR REPLACE INTO requests (namespace, request_id, fingerprint, create_time, checksum, outcome, returned)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- store change --
INSERT INTO changes (id, namespace, key, version, kind, commit_time) VALUES (?, ?, ?, ?, ?, ?);

-- scan entries --
-- Live entries of a key range, in order.
SELECT key, version, delete_time, create_time, update_time, expire_time, ttl_ms, content_type, schema_version, labels,
  value_checksum, header_checksum, value
FROM entries
WHERE namespace = ? AND key >= ? AND key < ? AND delete_time IS NULL AND (expire_time IS NULL OR expire_time > ?)
ORDER BY key LIMIT ?;

-- scan headers --
SELECT key, version, delete_time, create_time, update_time, expire_time, ttl_ms, content_type, schema_version, labels,
  value_checksum, header_checksum
FROM entries
WHERE namespace = ? AND key >= ? AND key < ? AND delete_time IS NULL AND (expire_time IS NULL OR expire_time > ?)
ORDER BY key LIMIT ?;

-- scan up to horizon --
-- What a deletion by prefix takes next.
SELECT key, version, delete_time, create_time, update_time, expire_time, ttl_ms, content_type, schema_version, labels,
  value_checksum, header_checksum
FROM entries
WHERE namespace = ? AND key >= ? AND key < ? AND delete_time IS NULL AND (expire_time IS NULL OR expire_time > ?)
  AND version <= ?
ORDER BY key LIMIT ?;

-- find expired --
SELECT namespace, key, version, delete_time, create_time, update_time, expire_time, ttl_ms, content_type,
  schema_version, labels, value_checksum, header_checksum
FROM entries WHERE expire_time <= ? ORDER BY expire_time LIMIT ?;

-- forget tombstones --
DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE delete_time <= ? ORDER BY delete_time LIMIT ?);

-- forget requests --
DELETE FROM requests WHERE (namespace, request_id) IN
  (SELECT namespace, request_id FROM requests WHERE create_time <= ? ORDER BY create_time LIMIT ?);

-- oldest changes --
SELECT id, commit_time FROM changes ORDER BY id LIMIT ?;

-- forget changes --
DELETE FROM changes WHERE id <= ?;

-- newest change --
SELECT coalesce(max(id), 0) FROM changes;

-- find change --
SELECT count(*) FROM changes WHERE id = ?;

-- load changes --
SELECT id, namespace, key, version, kind FROM changes WHERE id > ? ORDER BY id LIMIT ?;

-- count entries --
-- The next rows by id: what is live of them, by namespace. SQLite knows the length of a value without reading it, and reads
-- a number up to where it ends. `:mark` is a mark's name as JSON writes it: what follows is a kind and a size.
SELECT namespace, max(id), count(*), sum(live), sum(live * size), sum(live * (away > 0)),
  sum(live * (away > 0) * CAST(substr(place, instr(place, ' ') + 1) AS INTEGER))
FROM (
  SELECT id, namespace, length(key) + length(value) AS size,
    delete_time IS NULL AND (expire_time IS NULL OR expire_time > :now) AS live,
    instr(labels, :mark) AS away,
    CAST(substr(labels, instr(labels, :mark) + length(:mark), 40) AS TEXT) AS place
  FROM entries WHERE id > :after ORDER BY id LIMIT :limit
) GROUP BY namespace;
