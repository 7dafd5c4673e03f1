-- Tokens: what they are good for, and the SHA-256 of their secrets. They are never removed: what joined with them names them.
CREATE TABLE token (
    token_id      TEXT    NOT NULL PRIMARY KEY,
    sha256        BLOB    NOT NULL UNIQUE CHECK (length(sha256) = 32),
    role          TEXT    NOT NULL CHECK (role IN ('agent', 'reader', 'operator')),
    -- Times here and below are in microseconds since 1970, by the collector's clock.
    created_at_us INTEGER NOT NULL,
    ends_at_us    INTEGER NOT NULL,
    -- How many hosts may join with it, and how many have; 0 for a bearer token.
    uses          INTEGER NOT NULL CHECK (uses >= 0),
    used          INTEGER NOT NULL DEFAULT 0 CHECK (used BETWEEN 0 AND uses),
    revoked_at_us INTEGER,
    -- A JSON object of strings.
    labels        TEXT    NOT NULL,
    replace_host  TEXT,
    network       TEXT,
    note          TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Hosts that joined. A host that joins again takes the place of itself.
CREATE TABLE agent (
    host_id        TEXT    NOT NULL PRIMARY KEY,
    host_name      TEXT    NOT NULL,
    -- SHA-256 of the public key that counts.
    key_sha256     BLOB    NOT NULL CHECK (length(key_sha256) = 32),
    enrolled_at_us INTEGER NOT NULL,
    address        TEXT    NOT NULL,
    token_id       TEXT    NOT NULL REFERENCES token (token_id),
    renewed_at_us  INTEGER NOT NULL,
    ends_at_us     INTEGER NOT NULL,
    revoked_at_us  INTEGER,
    labels         TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- What was done and refused, in the order in which it happened.
CREATE TABLE audit (
    audit_id INTEGER NOT NULL PRIMARY KEY,
    at_us    INTEGER NOT NULL,
    event    TEXT    NOT NULL,
    who      TEXT    NOT NULL,
    address  TEXT    NOT NULL,
    detail   TEXT    NOT NULL
) STRICT;

CREATE INDEX audit_by_time ON audit (at_us);
-- Strangers can make lines of this kind, so only so many are kept; they are counted by this.
CREATE INDEX audit_refused ON audit (audit_id) WHERE event = 'refused';
