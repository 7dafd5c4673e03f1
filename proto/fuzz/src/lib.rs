//! What holds of any input, as each of the fuzz targets checks it. `proto/tests/it/corpus.rs` checks the same of the corpora.

#![forbid(unsafe_code)]

mod fields;

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fleetmark_proto::{
    control::{AuditEntry, Created, KnownAgent, KnownToken, NewToken},
    convert::{self, Encoded, Outcome},
    document::ReportDocument,
    enrollment::{Issued, Join, Renewal},
    id::{Digest, HostId, ReportId},
    report::Report,
    role::Subject,
    token::{BearerToken, JoinToken, TokenId},
    v1,
};
use jiff::Timestamp;
use prost::Message as _;

use fields::Fields;

/// The report that `conversions` changes.
const REPORT: &[u8] = include_bytes!("../../tests/golden/report-v1.bin");

/// Reads bytes as a message, writes what it says, and reads that again.
macro_rules! says_the_same {
    ($bytes:ident: $($wire:ident means $meaning:ty),+ $(,)?) => {
        $(if let Ok(wire) = v1::$wire::decode($bytes) {
            match <$meaning>::from_wire(wire) {
                Ok(meant) => {
                    let again = <$meaning>::from_wire(meant.clone().into_wire());
                    assert!(again.is_ok_and(|again| again == meant), stringify!($wire));
                }
                Err(invalid) => one_line(&invalid),
            }
        })+
    };
}

/// Any bytes, taken for each message that comes from outside.
pub fn wire(bytes: &[u8]) {
    says_the_same!(bytes:
        EnrollRequest means Join,
        RenewRequest means Renewal,
        Issued means Issued,
        CreateTokenRequest means NewToken,
        CreatedToken means Created,
        KnownToken means KnownToken,
        KnownAgent means KnownAgent,
        AuditEntry means AuditEntry,
    );
    if let Ok(report) = convert::decode(bytes) {
        stands(&report);
    }
    if let Ok(v1::SubmitRequest { reports, sent_at }) = v1::SubmitRequest::decode(bytes) {
        let _ = convert::sent_at(sent_at);
        for envelope in reports {
            let read = Encoded::from_envelope(envelope);
            if let Ok((encoded, Ok(report))) = read.map(|read| (read.clone(), read.decode())) {
                assert_eq!(encoded.id, report.id);
                stands(&report);
            }
        }
    }
    if let Ok(run) = v1::KeptRun::decode(bytes)
        && let Ok(run) = convert::read_run(run)
    {
        stands(&run.report);
    }
    if let Ok(request) = v1::RunsRequest::decode(bytes)
        && let Ok(since) = convert::runs_since(request)
    {
        let since = since.filter(|since| *since > Timestamp::UNIX_EPOCH);
        assert_eq!(convert::runs_since(convert::runs_request(since)), Ok(since));
    }
    if let Ok(v1::SubmitResponse { answers }) = v1::SubmitResponse::decode(bytes) {
        for answer in answers {
            if let Ok(id) = ReportId::from_bytes(&answer.report_id) {
                let again = answer.clone();
                if let Ok(outcome) = Outcome::from_answer(answer, id) {
                    assert_eq!(Outcome::from_answer(again, id), Ok(outcome));
                }
            }
        }
    }
}

/// A valid report with some fields of its wire form changed, as the bytes say.
pub fn conversions(bytes: &[u8]) {
    let mut fields = Fields::read(REPORT);
    fields.change(bytes);
    match convert::decode(&fields.write()) {
        Ok(report) => stands(&report),
        Err(invalid) => one_line(&invalid),
    }
}

/// What was read says the same after it was written, and can be shown.
fn stands(report: &Report) {
    let encoded = Encoded::new(report);
    assert_eq!(encoded.decode().as_ref(), Ok(report));
    serde_json::to_string(&ReportDocument::from(report)).unwrap();
}

/// Any text, and any bytes behind a right checksum, taken for what is typed or stands in a certificate.
pub fn token(bytes: &[u8]) {
    typed(&String::from_utf8_lossy(bytes));
    for prefix in ["fmj1_", "fmb1_", "fmj2_"] {
        typed(&sealed(prefix, bytes));
    }
}

fn typed(text: &str) {
    match text.parse::<JoinToken>() {
        Ok(token) => {
            assert_eq!(token.endpoint.scheme(), "https");
            is_hidden(&token, token.secret.expose());
            assert_eq!(token.expose().parse(), Ok(token));
        }
        Err(error) => one_line(&error),
    }
    match text.parse::<BearerToken>() {
        Ok(token) => {
            is_hidden(&token, token.secret.expose());
            assert_eq!(token.expose().parse(), Ok(token));
        }
        Err(error) => one_line(&error),
    }
    if let Ok(subject) = text.parse::<Subject>() {
        assert_eq!(subject.uri(), text);
    }
    if let Ok(id) = text.parse::<TokenId>() {
        assert_eq!(id.as_str(), text);
    }
    if let Ok(id) = text.parse::<HostId>() {
        assert_eq!(id.as_str(), text);
    }
}

/// A token as one is written, of any payload.
fn sealed(prefix: &str, payload: &[u8]) -> String {
    let all = [prefix.as_bytes(), payload].concat();
    let sum = Digest::of(&all);
    prefix.to_owned() + &URL_SAFE_NO_PAD.encode([payload, &sum.as_bytes()[..4]].concat())
}

fn is_hidden(token: &impl fmt::Debug, secret: &[u8; 32]) {
    let shown = format!("{token:?}");
    assert!(!shown.contains(&format!("{secret:?}")) && shown.contains("Secret(…)"), "{shown}");
}

fn one_line(error: &impl fmt::Display) {
    let line = error.to_string();
    assert!(!line.chars().any(char::is_control), "{line:?}");
}
