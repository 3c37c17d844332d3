-- Every statement of the store, each under its name. Parameters only.

-- load meta --
-- The single row.
SELECT release, database_id, epoch, sequence, reserved, change_id, change_floor, cache_identity, generation, checksum
FROM meta;

-- store meta --
INSERT OR REPLACE INTO meta
  (id, release, database_id, epoch, sequence, reserved, change_id, change_floor, cache_identity, generation, checksum)
VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- load header --
-- A key without its value: most writes need no more, and a large value stays unread.
SELECT version, delete_time, create_time, update_time, expire_time, ttl_ms, content_type, schema_version, labels,
  value_checksum, header_checksum
FROM entries WHERE namespace = ? AND key = ?;

-- load entry --
SELECT version, delete_time, create_time, update_time, expire_time, ttl_ms, content_type, schema_version, labels,
  value_checksum, header_checksum, value
FROM entries WHERE namespace = ? AND key = ?;

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

-- store end --
-- Only the end of an entry: its version and value stay.
UPDATE entries SET expire_time = ?, ttl_ms = ?, header_checksum = ? WHERE namespace = ? AND key = ?;

-- load request --
SELECT fingerprint, create_time, outcome, returned, checksum FROM requests WHERE namespace = ? AND request_id = ?;

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

-- load changes --
SELECT id, namespace, key, version, kind FROM changes WHERE id > ? ORDER BY id LIMIT ?;
