//! Of joining and renewing. What is kept of a secret is overwritten when it is dropped.

use zeroize::Zeroizing;

use super::{
    check::{Checked, bytes, present, text, within},
    read, write,
};
use crate::{
    enrollment::{Issued, Join, Renewal},
    invalid::Invalid,
    limits,
    secret::Secret,
    v1,
};

impl Join {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// If a field is missing, too long or not what it must be.
    pub fn from_wire(wire: v1::EnrollRequest) -> Result<Self, Invalid> {
        use v1::enroll_request::Proof;
        let v1::EnrollRequest { proof, host_id, host_name, request } = wire;
        let token = match proof {
            Some(Proof::Token(token)) => Zeroizing::new(token),
            None => return Err(Invalid::new("proof", "is missing or unknown to this version")),
        };
        let secret = Secret::from_slice(&token)
            .ok_or_else(|| Invalid::new("token", format!("must have {} bytes", Secret::BYTES)))?;
        Ok(Self {
            secret,
            host_id: read::host_id("host_id", &host_id)?,
            host_name: text("host_name", host_name)?,
            request: der("request", request)?,
        })
    }

    /// The request as it is sent.
    #[must_use]
    pub fn into_wire(self) -> v1::EnrollRequest {
        let Self { secret, host_id, host_name, request } = self;
        v1::EnrollRequest {
            proof: Some(v1::enroll_request::Proof::Token(secret.expose().to_vec())),
            host_id: host_id.to_string(),
            host_name,
            request,
        }
    }
}

impl Renewal {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// If a field is missing or too long.
    pub fn from_wire(wire: v1::RenewRequest) -> Result<Self, Invalid> {
        let v1::RenewRequest { certificate, request } = wire;
        Ok(Self {
            certificate: der("certificate", certificate)?,
            request: der("request", request)?,
        })
    }

    /// The request as it is sent.
    #[must_use]
    pub fn into_wire(self) -> v1::RenewRequest {
        let Self { certificate, request } = self;
        v1::RenewRequest { certificate, request }
    }
}

impl Issued {
    /// Reads an answer.
    ///
    /// # Errors
    ///
    /// If a field is missing, too long or not what it must be.
    pub fn from_wire(wire: v1::Issued) -> Result<Self, Invalid> {
        let v1::Issued { certificate, authority, ends_at, now, labels } = wire;
        Ok(Self {
            certificate: der("certificate", certificate)?,
            authority: der("authority", authority)?,
            ends_at: within("ends_at", present(ends_at).and_then(read::timestamp))?,
            now: within("now", present(now).and_then(read::timestamp))?,
            labels: read::labels(labels)?,
        })
    }

    /// The answer as it is sent.
    #[must_use]
    pub fn into_wire(self) -> v1::Issued {
        let Self { certificate, authority, ends_at, now, labels } = self;
        v1::Issued {
            certificate,
            authority,
            ends_at: Some(write::timestamp(ends_at)),
            now: Some(write::timestamp(now)),
            labels: labels.into_iter().collect(),
        }
    }
}

fn der(field: &str, value: Vec<u8>) -> Checked<Vec<u8>> {
    bytes(field, value, limits::CERTIFICATE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join() -> Join {
        Join {
            secret: Secret::from_slice(&[7; 32]).unwrap(),
            host_id: "web-1".parse().unwrap(),
            host_name: "web-1.example".into(),
            request: vec![0x30; 200],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Join::from_wire(join().into_wire()), Ok(join()));
        let renewal = Renewal { certificate: vec![1], request: vec![2] };
        assert_eq!(Renewal::from_wire(renewal.clone().into_wire()), Ok(renewal));
        let issued = Issued {
            certificate: vec![1],
            authority: vec![2],
            ends_at: "2026-11-26T09:00:00Z".parse().unwrap(),
            now: "2026-11-25T09:00:00.25Z".parse().unwrap(),
            labels: [("rack".to_owned(), "7".to_owned())].into(),
        };
        assert_eq!(Issued::from_wire(issued.clone().into_wire()), Ok(issued));
    }

    #[test]
    fn what_cannot_be_is_told_by_its_field() {
        let refused = |change: fn(&mut v1::EnrollRequest)| {
            let mut wire = join().into_wire();
            change(&mut wire);
            Join::from_wire(wire).unwrap_err().field
        };
        assert_eq!(refused(|wire| wire.proof = None), "proof");
        let short = |wire: &mut v1::EnrollRequest| {
            wire.proof = Some(v1::enroll_request::Proof::Token(vec![7; 31]));
        };
        assert_eq!(refused(short), "token");
        assert_eq!(refused(|wire| wire.host_id = "a b".into()), "host_id");
        assert_eq!(refused(|wire| wire.host_name = "two\nlines".into()), "host_name");
        assert_eq!(refused(|wire| wire.request.clear()), "request");
        assert_eq!(refused(|wire| wire.request = vec![0; 1 << 20]), "request");
        let none = v1::RenewRequest { certificate: vec![], request: vec![1] };
        assert_eq!(Renewal::from_wire(none).unwrap_err().field, "certificate");
        let none = v1::Issued { certificate: vec![1], authority: vec![1], ..Default::default() };
        assert_eq!(Issued::from_wire(none).unwrap_err().field, "ends_at");
    }

    #[test]
    fn secrets_are_not_shown() {
        assert!(!format!("{:?}", join()).contains('7'), "{:?}", join());
    }
}
