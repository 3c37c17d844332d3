-- Schema version 2 (PRAGMA user_version). All text is stored as BLOBs of its UTF-8 bytes: a key may hold any code point,
-- NUL included, compares by its bytes, and is never decoded before its checksum was verified. Instants are milliseconds
-- since 1970 (UTC).

-- One row. `release` stays in every later schema: it tells an older release who wrote the file.
CREATE TABLE meta (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  release TEXT NOT NULL,
  database_id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  sequence INTEGER NOT NULL,        -- the last one handed out
  reserved INTEGER NOT NULL,        -- sequences up to here may be handed out
  change_id INTEGER NOT NULL,       -- the last change row's
  change_floor INTEGER NOT NULL,    -- rows up to here were swept
  cache_identity TEXT NOT NULL,
  generation INTEGER NOT NULL,
  checksum INTEGER NOT NULL
);

-- What a key is now. delete_time is set for a tombstone. A table with row ids: in a WITHOUT ROWID table every row above
-- a quarter of a page spills into pages of its own. The value comes last, so a read of the rest doesn't walk through it.
-- header_checksum covers every column but the value, and the value's checksum.
CREATE TABLE entries (
  id INTEGER PRIMARY KEY,
  namespace BLOB NOT NULL,
  key BLOB NOT NULL,
  version INTEGER NOT NULL,
  delete_time INTEGER,
  create_time INTEGER,
  update_time INTEGER,
  expire_time INTEGER,
  ttl_ms INTEGER,
  content_type BLOB NOT NULL,
  schema_version INTEGER NOT NULL,
  labels BLOB NOT NULL,             -- JSON, empty: none
  value_checksum INTEGER NOT NULL,
  header_checksum INTEGER NOT NULL,
  value BLOB NOT NULL,
  UNIQUE (namespace, key)
);
CREATE INDEX entries_expire_time ON entries (expire_time) WHERE expire_time IS NOT NULL;
CREATE INDEX entries_delete_time ON entries (delete_time) WHERE delete_time IS NOT NULL;

-- What a request id stands for, and what it did: JSON, with the returned values beside it in one piece.
CREATE TABLE requests (
  namespace BLOB NOT NULL,
  request_id BLOB NOT NULL,
  fingerprint BLOB NOT NULL,
  create_time INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  outcome BLOB NOT NULL,
  returned BLOB NOT NULL,
  PRIMARY KEY (namespace, request_id)
) WITHOUT ROWID;
CREATE INDEX requests_create_time ON requests (create_time);

-- What happened, in commit order. Ids come from meta: they are never handed out twice, not even in an older copy of the
-- file that was put back, whose epoch they begin with.
CREATE TABLE changes (
  id INTEGER PRIMARY KEY,
  namespace BLOB NOT NULL,
  key BLOB NOT NULL,
  version INTEGER NOT NULL,
  kind TEXT NOT NULL,
  commit_time INTEGER NOT NULL
);

-- Since version 2: the app whose data this is; no row: no app's that has a name.
CREATE TABLE owner (app TEXT NOT NULL);
