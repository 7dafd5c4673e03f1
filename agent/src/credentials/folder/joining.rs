//! The key of a host that is about to join. It is kept before the collector hears of it: a host that was stopped before it had its
//! certificate, or never got the answer, asks again with the same token and key, and that is the same use of the token.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use fleetmark_proto::{id::HostId, token::TokenId};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{CredentialsError, Folder, ROOM_BYTES, key_text};
use crate::credentials::Key;

const SCHEMA: &str = "fleetmark.joining/1";

/// The file.
#[derive(Deserialize, Serialize)]
struct Kept<'a> {
    schema: &'a str,
    token: &'a str,
    host_id: &'a str,
    key: &'a str,
}

impl Folder {
    /// The key for this host to join with this token: the one that was kept for that before, or a new one that is kept now.
    ///
    /// # Errors
    ///
    /// If none can be made or kept.
    pub fn key_to_join(&self, token: &TokenId, host: &HostId) -> Result<Key, CredentialsError> {
        let lock = self.lock().map_err(self.unwritable())?;
        // One that cannot be read is as good as none: nobody has a certificate of it.
        let bytes = fs::read(self.joining()).map(Zeroizing::new).unwrap_or_default();
        if let Some(key) = decode(&bytes, token, host) {
            return Ok(key);
        }
        let key = Key::new()?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM_BYTES));
        let kept = Kept {
            schema: SCHEMA,
            token: token.as_str(),
            host_id: host.as_str(),
            key: &key_text(&key),
        };
        serde_json::to_writer_pretty(&mut *bytes, &kept)
            .map_err(Into::into)
            .and_then(|()| self.put(&self.joining(), &bytes))
            .map_err(self.unwritable())?;
        drop(lock);
        Ok(key)
    }
}

fn decode(bytes: &[u8], token: &TokenId, host: &HostId) -> Option<Key> {
    let Kept { schema, token: kept_token, host_id, key } = serde_json::from_slice(bytes).ok()?;
    if (schema, kept_token, host_id) != (SCHEMA, token.as_str(), host.as_str()) {
        return None;
    }
    Key::from_bytes(&Zeroizing::new(STANDARD.decode(key).ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use fleetmark_proto::secret::Secret;

    use super::*;

    #[test]
    fn a_key_is_kept_for_one_token_and_host_until_the_host_has_joined() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::of(state.path());
        let tokens = [7, 8].map(|byte| TokenId::of(&Secret::from_slice(&[byte; 32]).unwrap()));
        let [one, other]: [HostId; 2] = ["web-1", "web-2"].map(|host| host.parse().unwrap());
        let key = |token, host| folder.key_to_join(token, host).unwrap().digest();
        let first = key(&tokens[0], &one);
        assert_eq!(key(&tokens[0], &one), first);
        assert_eq!(fs::metadata(folder.joining()).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(folder.read().unwrap().is_none(), "it has not joined yet");
        let second = key(&tokens[1], &one);
        assert_ne!(second, first);
        let third = key(&tokens[1], &other);
        assert!(third != second && third != first);
        fs::write(folder.joining(), "{").unwrap();
        assert_ne!(key(&tokens[1], &other), third, "what is damaged is made anew");
        folder.write(&crate::credentials::folder::tests::credentials("web-2")).unwrap();
        assert!(!folder.joining().exists());
    }
}
