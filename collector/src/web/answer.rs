//! How answers are put: their kinds, and the headers that keep browsers from doing more with them than showing them.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY},
    request::Parts,
};
use http_body_util::Full;

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
    (
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    ),
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
        assert!(policy.starts_with("default-src 'none';") && policy.ends_with("frame-ancestors 'none'"));
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers()[REFERRER_POLICY], "no-referrer");
        assert_eq!(answer.headers()[CONTENT_TYPE], "text/plain; charset=utf-8");
    }
}
