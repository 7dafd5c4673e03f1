-- Whether whoever brought the run had proved to be its host, by a certificate or a token; 0 where it was trusted for its place. Of
-- runs from before this was kept nobody can tell any more.
ALTER TABLE run ADD COLUMN proven INTEGER NOT NULL DEFAULT 0 CHECK (proven IN (0, 1));
CREATE INDEX run_of_host ON run (host_id, proven);
