-- All text is bytea of its UTF-8: a key may hold any code point, NUL included, and compares by its bytes. Instants are
-- milliseconds since 1970 (UTC). In a database of its own: SELECT convert_from(key, 'UTF8') shows a key as text.

-- Both begin ahead of whatever a schema handed out that was here before and was dropped, as long as that averaged fewer
-- than 16,000 a second. The first id of a change row is above the last value that a writer saw before.
CREATE SEQUENCE state_sidecar.versions MAXVALUE 281474976710655;
CREATE SEQUENCE state_sidecar.change_ids MAXVALUE 281474976710655;
SELECT setval('state_sidecar.versions', (extract(epoch FROM clock_timestamp()) * 16000)::bigint),
  setval('state_sidecar.change_ids', (extract(epoch FROM clock_timestamp()) * 16000)::bigint);

-- The clock of every expiry. In a function, so that it can be another's.
CREATE FUNCTION state_sidecar.now_ms() RETURNS bigint LANGUAGE sql VOLATILE
  AS 'SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint';

-- One row. The first columns say what this database was when it was last looked at; where it is another now, it may have
-- gone back in time.
CREATE TABLE state_sidecar.meta (
  id integer PRIMARY KEY CHECK (id = 1),
  epoch bigint NOT NULL,
  system_identifier bigint NOT NULL,   -- of the cluster
  database_oid bigint NOT NULL,
  table_oid bigint NOT NULL,           -- of this table: another one after a dump was restored
  timeline text NOT NULL,
  sequence bigint NOT NULL,            -- a version's sequence that was reached
  change_floor bigint NOT NULL,        -- change rows up to here were forgotten
  cache_identity bytea NOT NULL,
  generation bigint NOT NULL
);
INSERT INTO state_sidecar.meta
SELECT 1, 0, 0, 0, 0, '', v.last_value, c.last_value, '', 0
FROM state_sidecar.versions AS v, state_sidecar.change_ids AS c;

-- What a key is now; delete_time is set for a tombstone. header_checksum covers all but the value, and its checksum.
-- An end that moves by less than a minute leaves expire_bucket, and so every index, as it is: the update stays on its
-- page (HOT), for which a part of each page is left free.
CREATE TABLE state_sidecar.entries (
  namespace bytea NOT NULL,
  key bytea NOT NULL,
  version bigint NOT NULL,
  delete_time bigint,
  create_time bigint,
  update_time bigint,
  expire_time bigint,
  ttl_ms bigint,
  schema_version bigint NOT NULL,
  value_checksum bigint NOT NULL,
  header_checksum bigint NOT NULL,
  expire_bucket bigint GENERATED ALWAYS AS (expire_time >> 16) STORED,
  content_type bytea NOT NULL,
  labels bytea NOT NULL,               -- JSON, empty: none
  value bytea NOT NULL,
  PRIMARY KEY (namespace, key)
) WITH (fillfactor = 80);
CREATE INDEX entries_expire_bucket ON state_sidecar.entries (expire_bucket) WHERE expire_bucket IS NOT NULL;
CREATE INDEX entries_delete_time ON state_sidecar.entries (delete_time) WHERE delete_time IS NOT NULL;

-- What a request id stands for, and what it did: JSON, with the returned values beside it in one piece.
CREATE TABLE state_sidecar.requests (
  namespace bytea NOT NULL,
  request_id bytea NOT NULL,
  create_time bigint NOT NULL,
  checksum bigint NOT NULL,
  fingerprint bytea NOT NULL,
  outcome bytea NOT NULL,
  returned bytea NOT NULL,
  PRIMARY KEY (namespace, request_id)
);
CREATE INDEX requests_create_time ON state_sidecar.requests (create_time);

-- What happened. An id is drawn after the rows it tells of were locked: a key's rows are in the order of its versions.
CREATE TABLE state_sidecar.changes (
  id bigint PRIMARY KEY DEFAULT nextval('state_sidecar.change_ids'),
  version bigint NOT NULL,
  commit_time bigint NOT NULL,
  namespace bytea NOT NULL,
  key bytea NOT NULL,
  kind text NOT NULL
);
