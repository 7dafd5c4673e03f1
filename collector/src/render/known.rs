//! How tokens, hosts that joined and the audit trail look.

use std::collections::BTreeMap;

use fleetmark_proto::{
    control::{AuditEntry, Created, KnownToken},
    shell::{
        grid::{Align, Grid},
        look::Look,
        output::Form,
    },
};
use jiff::Timestamp;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{RenderError, json, listed, table::time};
use crate::view::{AgentRow, Revocation, RevocationState, TokenRow};

/// The tokens that were made.
///
/// # Errors
///
/// If the form refuses a value.
pub fn tokens(rows: &[TokenRow], form: Form) -> Result<String, RenderError> {
    let columns = [
        ("id", Align::Left),
        ("role", Align::Left),
        ("state", Align::Left),
        ("used", Align::Right),
        ("uses", Align::Right),
        ("created_at", Align::LeftAside),
        ("ends_at", Align::Left),
        ("replace_host", Align::LeftAside),
        ("network", Align::LeftAside),
        ("labels", Align::LeftAside),
        ("note", Align::Left),
        ("host", Align::LeftAside),
    ];
    let lines = rows.iter().map(|TokenRow { token, state }| {
        vec![
            token.id.to_string(),
            token.role.to_string(),
            state.as_str().to_owned(),
            token.used.to_string(),
            token.uses.to_string(),
            time(token.created_at),
            time(token.ends_at),
            token.replace_host.as_ref().map(ToString::to_string).unwrap_or_default(),
            token.network.map(|network| network.to_string()).unwrap_or_default(),
            words(&token.labels),
            token.note.clone(),
            token.host.as_ref().map(ToString::to_string).unwrap_or_default(),
        ]
    });
    listed(rows, &grid(columns, lines), form)
}

/// A token that was just made. As a table it is the token alone, to be piped on.
///
/// # Errors
///
/// If the form refuses a value.
pub fn created(created: &Created, form: Form) -> Result<Zeroizing<String>, RenderError> {
    /// What is printed of it.
    #[derive(Serialize)]
    struct Document<'a> {
        token: &'a str,
        #[serde(flatten)]
        known: &'a KnownToken,
    }
    let Created { token, known } = created;
    if matches!(form, Form::People(Look::Text(_))) {
        return Ok(Zeroizing::new(format!("{}\n", token.as_str())));
    }
    let columns = [
        ("token", Align::Left),
        ("id", Align::Left),
        ("role", Align::Left),
        ("ends_at", Align::Left),
    ];
    let line =
        vec![token.to_string(), known.id.to_string(), known.role.to_string(), time(known.ends_at)];
    let document = Document { token, known };
    listed(&document, &grid(columns, [line].into_iter()), form).map(Zeroizing::new)
}

/// The hosts that joined, and who else was revoked.
///
/// # Errors
///
/// If the form refuses a value.
pub fn agents(rows: &[AgentRow], form: Form) -> Result<String, RenderError> {
    let columns = [
        ("host_id", Align::Left),
        ("host_name", Align::Left),
        ("state", Align::Left),
        ("enrolled_at", Align::LeftAside),
        ("address", Align::LeftAside),
        ("token_id", Align::LeftAside),
        ("renewed_at", Align::LeftAside),
        ("ends_at", Align::Left),
        ("labels", Align::LeftAside),
        ("role", Align::LeftAside),
        ("issuer", Align::LeftAside),
    ];
    let at = |at: Option<Timestamp>| at.map(time).unwrap_or_default();
    let lines = rows.iter().map(|row| {
        vec![
            row.host_id.to_string(),
            row.host_name.clone().unwrap_or_default(),
            row.state.as_str().to_owned(),
            at(row.enrolled_at),
            row.address.clone().unwrap_or_default(),
            row.token_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            at(row.renewed_at),
            at(row.ends_at),
            words(&row.labels),
            row.role.to_string(),
            row.issuer.as_str().to_owned(),
        ]
    });
    listed(rows, &grid(columns, lines), form)
}

/// What was done and refused.
///
/// # Errors
///
/// If the form refuses a value.
pub fn audit(entries: &[AuditEntry], form: Form) -> Result<String, RenderError> {
    let columns = [
        ("at", Align::Left),
        ("event", Align::Left),
        ("who", Align::Left),
        ("address", Align::Left),
        ("detail", Align::Left),
    ];
    let lines = entries.iter().map(|AuditEntry { at, event, who, address, detail }| {
        vec![time(*at), event.to_string(), who.clone(), address.clone(), detail.clone()]
    });
    listed(entries, &grid(columns, lines), form)
}

/// What came of revoking something.
///
/// # Errors
///
/// If the form refuses a value.
pub fn revocation(revocation: &Revocation, form: Form) -> Result<String, RenderError> {
    let Revocation { what, id, changed, state } = revocation;
    match form {
        Form::Json => json(revocation),
        Form::People(Look::Text(_)) => Ok(match (state, changed) {
            (RevocationState::Revoked, true) => format!("{what} {id} is revoked\n"),
            (RevocationState::NeverEnrolled, true) => format!(
                "{what} {id} was never enrolled here; its certificates of other authorities are refused from now on\n"
            ),
            (RevocationState::Revoked | RevocationState::NeverEnrolled, false) => {
                format!("{what} {id} was revoked before\n")
            }
            (RevocationState::Restored, true) => format!("{what} {id} is let in again\n"),
            (RevocationState::Restored, false) => format!("{what} {id} is not revoked\n"),
        }),
        Form::Csv | Form::People(Look::Markdown) => {
            let columns = [
                ("what", Align::Left),
                ("id", Align::Left),
                ("changed", Align::Left),
                ("state", Align::Left),
            ];
            let state = state.as_str().to_owned();
            let line = vec![(*what).to_owned(), id.clone(), changed.to_string(), state];
            listed(revocation, &grid(columns, [line].into_iter()), form)
        }
    }
}

fn grid<const COLUMNS: usize>(
    columns: [(&'static str, Align); COLUMNS],
    rows: impl Iterator<Item = Vec<String>>,
) -> Grid {
    Grid { title: String::new(), columns: columns.to_vec(), rows: rows.collect() }
}

fn words(labels: &BTreeMap<String, String>) -> String {
    let words: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    words.join(" ")
}
