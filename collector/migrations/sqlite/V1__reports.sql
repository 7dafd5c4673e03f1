-- Deduplication keys. They outlive the runs that they belong to: a report that comes again must not be stored again.
CREATE TABLE receipt (
    report_id      BLOB    NOT NULL PRIMARY KEY CHECK (length(report_id) = 16),
    sha256         BLOB    NOT NULL CHECK (length(sha256) = 32),
    received_at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Runs. `report` holds the bytes as the agent encoded them, once; the other columns are read from them, to select by.
CREATE TABLE run (
    report_id      BLOB    NOT NULL PRIMARY KEY REFERENCES receipt (report_id),
    report         BLOB    NOT NULL,
    host_id        TEXT    NOT NULL,
    profile_id     TEXT    NOT NULL,
    clean          INTEGER NOT NULL CHECK (clean IN (0, 1)),
    -- When the run ended, by the clock that can be trusted, in microseconds since 1970.
    time_us        INTEGER NOT NULL,
    received_at_us INTEGER NOT NULL
) STRICT;

CREATE INDEX run_by_time ON run (time_us);
