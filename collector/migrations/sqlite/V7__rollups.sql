-- Kinds of runs: what a profile, a build and a plan have in common, as JSON. They are never removed, as others may know their ids.
CREATE TABLE form (
    form_id INTEGER NOT NULL PRIMARY KEY,
    form    TEXT    NOT NULL UNIQUE
) STRICT;

-- What rollups go by of each run. Times are in microseconds since 1970.
CREATE TABLE outline (
    report_id  BLOB    NOT NULL PRIMARY KEY,
    form_id    INTEGER NOT NULL,
    -- When the run ended, by the clock that can be trusted.
    time_us    INTEGER NOT NULL,
    -- The boot's hash, cut to 64 bits; NULL where the host does not show it.
    boot       INTEGER,
    -- By the agent's clock.
    started_us INTEGER NOT NULL,
    ended_us   INTEGER NOT NULL,
    -- As the agent says.
    clean      INTEGER NOT NULL CHECK (clean IN (0, 1)),
    partial    INTEGER NOT NULL CHECK (partial IN (0, 1)),
    -- Runs that went on meanwhile on the same machine make this one suspect, in windows that begin until then; NULL if none did.
    shared_us  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX outline_in_time ON outline (time_us, form_id, clean, partial, shared_us);
CREATE INDEX outline_of_boot ON outline (boot, started_us, ended_us) WHERE boot IS NOT NULL;
CREATE INDEX outline_shared ON outline (time_us, shared_us) WHERE shared_us IS NOT NULL;

-- What each host's newest runs of a form say: when the last ended, of whatever quality, and, of each cell, the newest clean value.
CREATE TABLE newest (
    host_id TEXT    NOT NULL,
    form_id INTEGER NOT NULL,
    last_us INTEGER NOT NULL,
    last_id BLOB    NOT NULL CHECK (length(last_id) = 16),
    kept    BLOB    NOT NULL,
    PRIMARY KEY (host_id, form_id)
) STRICT, WITHOUT ROWID;

-- How many runs of a form ended on a day, in days since 1970. A run that shared its machine is suspect.
CREATE TABLE tally (
    form_id         INTEGER NOT NULL,
    day             INTEGER NOT NULL,
    clean           INTEGER NOT NULL,
    suspect         INTEGER NOT NULL,
    partial         INTEGER NOT NULL,
    partial_suspect INTEGER NOT NULL,
    PRIMARY KEY (form_id, day)
) STRICT, WITHOUT ROWID;

-- Under which boots a host was seen: enough to tell that its runs are not of two machines. Where that cannot be told, it is doubtful.
CREATE TABLE boots (
    host_id        TEXT    NOT NULL PRIMARY KEY,
    -- The newest, and when the last run under an earlier one ended.
    boot           INTEGER NOT NULL,
    earlier_end_us INTEGER,
    -- Eight bytes each.
    earlier        BLOB    NOT NULL,
    doubtful       INTEGER NOT NULL CHECK (doubtful IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE INDEX boots_doubtful ON boots (host_id) WHERE doubtful = 1;

-- Whether all of this is there for all runs.
CREATE TABLE rollup (
    complete INTEGER NOT NULL CHECK (complete IN (0, 1))
) STRICT;

INSERT INTO rollup (complete) SELECT NOT EXISTS (SELECT 1 FROM run);
