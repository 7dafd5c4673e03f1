//! What a certificate says of who has it.

use fleetmark_proto::{id::Digest, role::Subject};
use jiff::Timestamp;
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    prelude::{ASN1Time, FromDer as _},
};

use super::AuthorityError;
use crate::identity::Certificate;

/// Whose certificate this is. Who signed it, and whether it counts now, was or will be checked elsewhere.
///
/// # Errors
///
/// If it is not a certificate, or names nobody.
pub fn read(certificate_der: &[u8]) -> Result<(Subject, Certificate), AuthorityError> {
    subject_and_key(&parse(certificate_der)?, false)
}

/// The same of a certificate that this authority has to have signed.
pub(super) fn read_signed_by(
    certificate_der: &[u8],
    authority_der: &[u8],
) -> Result<(Subject, Certificate), AuthorityError> {
    let certificate = parse(certificate_der)?;
    let authority = parse(authority_der)?;
    certificate
        .verify_signature(Some(authority.public_key()))
        .map_err(|_| AuthorityError::Foreign)?;
    subject_and_key(&certificate, true)
}

pub(super) fn parse(certificate_der: &[u8]) -> Result<X509Certificate<'_>, AuthorityError> {
    match X509Certificate::from_der(certificate_der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(AuthorityError::Certificate("cannot be read")),
    }
}

/// What names are on a certificate; none where it has no alternative names.
pub(super) fn names<'a>(
    certificate: &'a X509Certificate<'_>,
) -> Result<&'a [GeneralName<'a>], AuthorityError> {
    match certificate.subject_alternative_name() {
        Ok(Some(extension)) => Ok(&extension.value.general_names),
        Ok(None) => Ok(&[]),
        Err(_) => Err(AuthorityError::Certificate("has names that cannot be read")),
    }
}

pub(super) fn time(time: ASN1Time) -> Result<Timestamp, AuthorityError> {
    Timestamp::from_second(time.timestamp())
        .map_err(|_| AuthorityError::Certificate("counts at no time"))
}

fn subject_and_key(
    certificate: &X509Certificate<'_>,
    is_ours: bool,
) -> Result<(Subject, Certificate), AuthorityError> {
    let mut subjects = names(certificate)?.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.starts_with("fleetmark://").then_some(*uri),
        _ => None,
    });
    let (Some(uri), None) = (subjects.next(), subjects.next()) else {
        return Err(AuthorityError::Certificate(
            "must name one subject, such as fleetmark://agent/web-1, among its alternative names",
        ));
    };
    let subject = uri.parse().map_err(|_| {
        AuthorityError::Certificate("names a subject that is not such as fleetmark://agent/web-1")
    })?;
    let validity = certificate.validity();
    let certificate = Certificate {
        key: Digest::of(certificate.public_key().raw),
        begins_at: time(validity.not_before)?,
        ends_at: time(validity.not_after)?,
        is_ours,
    };
    Ok((subject, certificate))
}
