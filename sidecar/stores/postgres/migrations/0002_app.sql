-- The app whose data this is; NULL: no app's that has a name.
ALTER TABLE state_sidecar.meta ADD COLUMN app text;
