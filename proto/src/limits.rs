//! Every limit of the contract, in one place.
//!
//! A collector rejects what is over them; an agent refuses to make it.

use std::time::Duration;

/// Reports in one batch.
pub const BATCH_REPORTS: usize = 256;
/// Bytes of one gRPC message, as received by the collector.
pub const MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of reports in one batch, as sent by an agent; their envelopes fit into a message beside them.
pub const BATCH_BYTES: usize = 3 * 1024 * 1024;
/// Bytes of one encoded report.
pub const REPORT_BYTES: usize = 1024 * 1024;
/// Bytes of any text that has no limit of its own.
pub const TEXT_BYTES: usize = 1024;
/// Bytes of the longest texts: mitigations, reasons and messages.
pub const LONG_TEXT_BYTES: usize = 8 * 1024;
/// Characters of a host id.
pub const HOST_ID_CHARS: usize = 128;
/// Bytes of a certificate, or of a request for one, DER.
pub const CERTIFICATE_BYTES: usize = 16 * 1024;
/// Characters of a token, as it is typed.
pub const TOKEN_CHARS: usize = 512;
/// Hosts that may join with one token.
pub const TOKEN_USES: u32 = 100_000;
/// The longest that a token lives: ten years.
pub const TOKEN_AGE: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
/// How long after its end a certificate may be renewed.
pub const RENEWAL_AGE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Bytes of a list of tokens or hosts, as received by a program that asks a collector for it.
pub const LIST_BYTES: usize = 64 * 1024 * 1024;
/// Calls to join, or to renew without a proof, that an address may make at once; then it is one a second.
pub const ENROLLMENTS: u32 = 20;
/// Calls to renew that an address may make at once, whatever it proves; then it is 100 a second. It is enough for 10,000 hosts behind
/// one address that come back from an outage.
pub const RENEWALS_OF_ADDRESS: u32 = 20_000;
/// Calls to renew that a host may make at once that has proved its key; then it is one in ten minutes.
pub const RENEWALS: u32 = 10;
/// How long a host that joined and did not hear of it may ask again before that counts as a renewal.
pub const JOIN_AGAIN: Duration = Duration::from_secs(10 * 60);
/// Lines of the audit trail that tell of somebody who was refused; the oldest go when there are more.
pub const AUDIT_REFUSALS: u32 = 100_000;
/// Labels of one report.
pub const LABELS: usize = 32;
/// Bytes of a label's key.
pub const LABEL_KEY_BYTES: usize = 64;
/// Bytes of a label's value.
pub const LABEL_VALUE_BYTES: usize = 256;
/// Reasons of one quality verdict.
pub const REASONS: usize = 64;
/// Kinds of cores in one machine.
pub const CORE_KINDS: usize = 16;
/// Sockets, cores, threads or workers of one machine.
pub const CPUS: u32 = 65_536;
/// Measured rounds of one run.
pub const ROUNDS: u32 = 10_000;
/// Series of one report: every pass with every variant has about 200.
pub const SERIES: usize = 1_024;
/// Units of one cell.
pub const UNITS: u64 = 1_000_000;
/// Kernel rounds of one unit.
pub const KERNEL_ROUNDS: u64 = 1_000_000_000_000;
/// The longest wait, deadline or sample that means anything.
pub const DURATION: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of memory or cache: 1 EiB.
pub const MEMORY_BYTES: u64 = 1 << 60;
/// The oldest report that a collector takes.
pub const REPORT_AGE: Duration = Duration::from_secs(180 * 24 * 60 * 60);
/// How long a collector keeps a report's id and digest after it took the report, and after the time in the id, whichever is later: as
/// long as the report may come again, and a day, by which a clock may have been ahead without telling.
pub const RECEIPT_AGE: Duration = Duration::from_secs(181 * 24 * 60 * 60);
/// The oldest report that an agent still sends; older ones go to its quarantine.
pub const SPOOL_AGE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Bytes of all reports in a spool, quarantine included, unless the owner says otherwise.
pub const SPOOL_BYTES: u64 = 64 * 1024 * 1024;
/// Reports in a spool, quarantine included, unless the owner says otherwise.
pub const SPOOL_FILES: u64 = 10_000;
/// How far a report's times may lie ahead of the collector's clock.
pub const CLOCK_AHEAD: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a run may take, from start to end.
pub const RUN_DURATION: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How long one `run` tries to deliver before it says that the report is spooled.
pub const DELIVERY: Duration = Duration::from_secs(10);
/// How long a collector that was told to stop finishes what it accepted.
pub const DRAIN: Duration = Duration::from_secs(10);
/// Calls that a collector works on at a time, from all agents together. Who comes when there are as many is told when to
/// come again. Requests that were on their way by then are taken all the same.
pub const CALLS: usize = 256;
/// Calls that it lets in at a time, those too whose requests are still arriving: what 100 ms on the way take at 10,000 a second.
pub const CALLS_LET_IN: usize = 1_024;
/// Bytes of requests that a collector holds at a time, from all agents together.
pub const BODIES_BYTES: usize = 64 * 1024 * 1024;
/// Connections that a collector keeps open at a time. Further ones wait until others end, as agents end theirs when they have
/// delivered. An idle one costs 17 KiB, 26 with TLS; one that fills all buffers of HTTP/2 costs 58. So many of those, and as
/// many requests as are held at a time, are still within 256 MiB.
pub const CONNECTIONS: usize = 2_560;
/// Connections of browsers and scrapers that a collector keeps open at a time, beside those of agents.
pub const HTTP_CONNECTIONS: usize = 256;
/// Headers of one request for a page.
pub const HTTP_HEADERS: usize = 64;
/// Pages that are asked for at a time. Who comes when there are as many is told to come again.
pub const PAGES: usize = 128;
/// How long a browser is kept waiting for a page, those included that others wait for before it.
pub const PAGE_BUILD: Duration = Duration::from_secs(60);
/// How long whoever asked for a page may take to receive it.
pub const PAGE_TAKEN: Duration = Duration::from_secs(2 * 60);
/// Runs that pages are made of at most, which take about 15 KB of memory each.
pub const PAGE_RUNS: u64 = 30_000;
/// For how long what was read for pages is kept when nobody asks for any.
pub const PAGE_IDLE: Duration = Duration::from_secs(60);
/// For how long a page may be of what was read before.
pub const PAGE_AGE: Duration = Duration::from_secs(2);
/// The same where nothing has come meanwhile: others may have changed what is stored.
pub const PAGE_AGE_AT_REST: Duration = Duration::from_secs(30);
/// For how long what metrics say of the fleet may be of what was read before.
pub const METRICS_AGE: Duration = Duration::from_secs(30);
/// Profiles that metrics tell of, those with the most hosts.
pub const METRICS_PROFILES: usize = 200;
/// Connections that wait to be accepted; Linux allows 4,096 unless it is told otherwise.
pub const BACKLOG: u32 = 4_096;
/// Calls of one connection at a time.
pub const CONNECTION_CALLS: u32 = 128;
/// Bytes of one call's headers.
pub const HEADERS_BYTES: u32 = 16 * 1024;
/// Bytes of one connection that may be on their way to the collector unread.
pub const WINDOW_BYTES: u32 = 256 * 1024;
/// The same of one call. What was sent of a call that is refused is received for nothing, so it is little; and enough for 1 MiB,
/// the most that an agent sends, in 20 s over a network of 300 ms.
pub const CALL_WINDOW_BYTES: u32 = 16 * 1024;
/// How long a connection may take to say that it speaks HTTP/2.
pub const PREFACE: Duration = Duration::from_secs(10);
/// How long a connection may stay without a call.
pub const IDLE: Duration = Duration::from_secs(5 * 60);
/// How long it may do so while there are as many connections as the collector keeps.
pub const IDLE_IN_A_CROWD: Duration = Duration::from_secs(30);
/// How long the request of a call may take to arrive.
pub const ARRIVAL: Duration = Duration::from_secs(20);
/// For how long it keeps its place while there are as many as the collector lets in, unless its connection has far more of
/// them than the next one's: then it gives way at once.
pub const ARRIVAL_IN_A_CROWD: Duration = Duration::from_secs(1);
/// How long a call may take in all.
pub const CALL: Duration = Duration::from_secs(30);
/// How often a collector looks whether who may do what, or a certificate in a file, has changed.
pub const REFRESH: Duration = Duration::from_secs(10);
/// How long after the last time that is read again for somebody who is not known.
pub const REFRESH_FOR_STRANGERS: Duration = Duration::from_secs(1);
/// How old what is known of who may do what may be. Revocation must work within a minute.
pub const STANDING_AGE: Duration = Duration::from_secs(50);
/// Calls that read what is stored, at a time. Who comes when there are as many is told when to come again.
pub const READERS: usize = 16;
/// Bytes of reports that such a call holds at a time; the report that reaches them goes in whole.
pub const PAGE_BYTES: usize = 256 * 1024;
/// How long such a call may take in all: enough for 7 GB at 100 Mbit/s.
pub const READ: Duration = Duration::from_secs(10 * 60);
/// How long its reader may take nothing of the answer.
pub const READ_PAUSE: Duration = Duration::from_secs(30);
/// Reports of one commit, at which it no longer waits for more; the batch that reaches it goes in whole.
pub const COMMIT_REPORTS: usize = 512;
/// How long a report waits for others to be committed with.
pub const COMMIT_WAIT: Duration = Duration::from_millis(5);
/// Batches that wait for a commit.
pub const COMMIT_QUEUE: usize = CALLS_LET_IN;
/// Kinds of runs that a store remembers the numbers of, so as not to look them up for each run.
pub const FORMS_KNOWN: usize = 4_096;
