-- Whose certificates of other authorities are refused. What this collector's own authority issued is in `agent`.
CREATE TABLE revoked_subject (
    role          TEXT    NOT NULL CHECK (role IN ('agent', 'reader', 'operator')),
    name          TEXT    NOT NULL,
    revoked_at_us INTEGER NOT NULL,
    PRIMARY KEY (role, name)
) STRICT, WITHOUT ROWID;

-- Hosts that were revoked before were so whoever else spoke for them.
INSERT INTO revoked_subject (role, name, revoked_at_us)
SELECT 'agent', host_id, revoked_at_us FROM agent WHERE revoked_at_us IS NOT NULL;

-- The host whose agent sends the token with each call; NULL where hosts join with it, or it is not an agent's.
ALTER TABLE token ADD COLUMN host TEXT;
