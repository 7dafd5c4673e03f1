//! The checks that reading is made of.

use std::ops::RangeInclusive;

use crate::{invalid::Invalid, limits, unit::Nanos};

pub(super) type Checked<T> = Result<T, Invalid>;

pub(super) fn within<T>(outer: &str, result: Checked<T>) -> Checked<T> {
    result.map_err(|invalid| invalid.within(outer))
}

pub(super) fn present<T>(message: Option<T>) -> Checked<T> {
    message.ok_or_else(|| Invalid::new("", "is missing"))
}

pub(super) fn known<E: TryFrom<i32>>(field: &str, value: i32) -> Checked<E> {
    E::try_from(value).map_err(|_| Invalid::new(field, format!("{value} is unknown")))
}

pub(super) fn unspecified(field: &str) -> Invalid {
    Invalid::new(field, "is missing")
}

pub(super) fn at_most(field: &str, text: String, bytes: usize) -> Checked<String> {
    if text.len() > bytes {
        return Err(Invalid::new(field, format!("has {} bytes, more than {bytes}", text.len())));
    }
    Ok(text)
}

/// Bytes that must be there.
pub(super) fn bytes(field: &str, value: Vec<u8>, most: usize) -> Checked<Vec<u8>> {
    match value.len() {
        0 => Err(Invalid::new(field, "is missing")),
        length if length > most => {
            Err(Invalid::new(field, format!("has {length} bytes, more than {most}")))
        }
        _ => Ok(value),
    }
}

/// Text on one line, so that it can stand in a table.
pub(super) fn text(field: &str, text: String) -> Checked<String> {
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(field, "has control characters"));
    }
    at_most(field, text, limits::TEXT_BYTES)
}

/// Whether a text may stand on one line of a table, and is not too long.
pub(crate) fn check_text(field: &str, value: &str) -> Checked<()> {
    text(field, value.to_owned()).map(|_| ())
}

pub(super) fn required_text(field: &str, value: String) -> Checked<String> {
    if value.is_empty() {
        return Err(Invalid::new(field, "is missing"));
    }
    text(field, value)
}

pub(super) fn optional_text(field: &str, value: Option<String>) -> Checked<Option<String>> {
    value.map(|value| required_text(field, value)).transpose()
}

pub(super) fn in_range<T: Copy + PartialOrd + std::fmt::Display>(
    field: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Checked<T> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (low, high) = range.into_inner();
    Err(Invalid::new(field, format!("{value} is not within {low} to {high}")))
}

pub(super) fn optional_in_range<T: Copy + PartialOrd + std::fmt::Display>(
    field: &str,
    value: Option<T>,
    range: RangeInclusive<T>,
) -> Checked<Option<T>> {
    value.map(|value| in_range(field, value, range)).transpose()
}

pub(super) fn duration(field: &str, nanos: u64) -> Checked<Nanos> {
    in_range(field, nanos, 0..=Nanos::from(limits::DURATION).0).map(Nanos)
}

pub(super) fn optional_duration(field: &str, nanos: Option<u64>) -> Checked<Option<Nanos>> {
    nanos.map(|nanos| duration(field, nanos)).transpose()
}

/// A number from 0 to `most`.
pub(super) fn optional_number(field: &str, value: Option<f64>, most: f64) -> Checked<Option<f64>> {
    match value {
        Some(value) if !(0.0..=most).contains(&value) => {
            Err(Invalid::new(field, format!("must be a number from 0 to {most}")))
        }
        value => Ok(value),
    }
}
