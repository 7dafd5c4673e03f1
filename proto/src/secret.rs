//! What must not be seen.

use std::{fmt, io};

use zeroize::Zeroizing;

use crate::id::Digest;

/// 32 random bytes that prove something to whoever knows their digest. No formatter shows them, and they are overwritten when
/// they are dropped.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(Zeroizing<[u8; Self::BYTES]>);

impl Secret {
    /// How many bytes there are.
    pub const BYTES: usize = 32;

    /// A new one, from the operating system.
    ///
    /// # Errors
    ///
    /// If the operating system has no random bytes.
    pub fn new() -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        getrandom::fill(&mut *bytes).map_err(io::Error::from)?;
        Ok(Self(bytes))
    }

    /// Takes them from the wire or from a token; `None` if there are not 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut secret = Zeroizing::new([0; Self::BYTES]);
        if bytes.len() != Self::BYTES {
            return None;
        }
        secret.copy_from_slice(bytes);
        Some(Self(secret))
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Their SHA-256, which may be kept.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&*self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_random_and_not_shown() {
        let (one, other) = (Secret::new().unwrap(), Secret::new().unwrap());
        assert_ne!(one, other);
        assert_eq!(format!("{one:?}"), "Secret(…)");
        assert_eq!(Secret::from_slice(one.expose()), Some(one));
        assert_eq!(Secret::from_slice(&[0; 31]), None);
    }
}
