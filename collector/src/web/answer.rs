//! How answers are put: their kinds, and the headers that keep browsers from doing more with them than showing them.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
        REFERRER_POLICY, VARY,
    },
    request::Parts,
};
use http_body_util::Full;
use jiff::Timestamp;

use super::metrics::Form;

/// What Prometheus asks for first.
const OPEN_METRICS: &str = "application/openmetrics-text";

/// What somebody gets.
pub(crate) type Answer = Response<Full<Bytes>>;

/// On every answer. Nothing is loaded from elsewhere, framed, guessed at, kept, or told to others.
const HEADERS: [(HeaderName, HeaderValue); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (VARY, HeaderValue::from_static("accept, authorization")),
];

/// The same with the headers that every answer has.
pub(crate) fn guarded(mut answer: Answer) -> Answer {
    for (name, value) in HEADERS {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// One line for a person.
pub(crate) fn line(status: StatusCode, line: &str) -> Answer {
    of(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// Text of a kind.
pub(super) fn of(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A page, with its tag if it may be asked for again.
pub(super) fn page(status: StatusCode, page: impl Into<Bytes>, tag: Option<&str>) -> Answer {
    let mut answer = of(status, "text/html; charset=utf-8", page);
    if let Some(tag) = tag.and_then(|tag| HeaderValue::from_str(tag).ok()) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

/// That whoever asks has the page already.
pub(super) fn unchanged(tag: &str) -> Answer {
    let mut answer = page(StatusCode::NOT_MODIFIED, "", Some(tag));
    answer.headers_mut().remove(CONTENT_TYPE);
    answer
}

/// The tag of the page at this address over these runs. A page is made again each hour whatever comes, as its window goes on; and
/// by another version.
pub(super) fn tag(address: &str, mark: u64, now: Timestamp) -> String {
    let mut hasher = DefaultHasher::new();
    (address, mark, now.as_second() / 3_600, env!("CARGO_PKG_VERSION")).hash(&mut hasher);
    format!("W/\"{:016x}\"", hasher.finish())
}

/// Whether whoever asks has what has this tag.
pub(super) fn has(asked: &Parts, tag: &str) -> bool {
    let given = asked.headers.get(IF_NONE_MATCH).and_then(|given| given.to_str().ok());
    given.is_some_and(|given| given.split(',').any(|given| given.trim() == tag))
}

/// Whether somebody takes OpenMetrics, as Prometheus does. All other tools read what was there before it.
pub(super) fn takes_open_metrics(asked: &Parts) -> bool {
    let accepted = asked.headers.get_all(ACCEPT).iter().filter_map(|it| it.to_str().ok());
    accepted.into_iter().any(|it| it.contains(OPEN_METRICS))
}

/// Metrics, as they were asked for.
pub(super) fn metrics(form: Form, text: String) -> Answer {
    let kind = match form {
        Form::Open => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        Form::Classic => "text/plain; version=0.0.4; charset=utf-8",
    };
    of(StatusCode::OK, kind, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_keeps_browsers_from_more() {
        let answer = guarded(line(StatusCode::OK, "ok"));
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none';") && policy.ends_with("frame-ancestors 'none'")
        );
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers()[REFERRER_POLICY], "no-referrer");
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    }
}
