//! What is wrong with a value that came from outside, and where.

use std::fmt::Display;

/// A field that does not hold what it must. The collector answers with exactly this.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// Path of the field, such as `cells[3].median_ns`; empty for the whole.
    pub field: String,
    /// What is wrong with it, for a person.
    pub reason: String,
}

impl Invalid {
    /// A complaint about `field`.
    pub fn new(field: impl Into<String>, reason: impl Display) -> Self {
        Self { field: field.into(), reason: reason.to_string() }
    }

    /// The same complaint seen from one level further out: `median_ns` becomes `cells[3].median_ns`.
    #[must_use]
    pub fn within(self, outer: impl Display) -> Self {
        let field = if self.field.is_empty() {
            outer.to_string()
        } else {
            format!("{outer}.{}", self.field)
        };
        Self { field, ..self }
    }
}
