-- Runs are read a page at a time, in the order of both; without this, those of one time would be sorted anew for each page.
CREATE INDEX run_in_order ON run (time_us, report_id);
DROP INDEX run_by_time;
