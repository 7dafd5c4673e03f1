//! Tokens: what a person carries from the collector to whoever shall be known.
//!
//! ```text
//! fmj1_…   lets a host join: endpoint, pin of the authority's public key, secret
//! fmb1_…   is sent with each call, by a reader, an operator or a host's agent: secret
//! ```
//!
//! After the prefix comes, in base64url without padding, the payload and the first four bytes of the SHA-256 over prefix and
//! payload, so that a mistyped token is found before anybody is asked. The payload of a joining token is the secret, the pin (both
//! 32 bytes) and the endpoint; that of the other is the secret. Another form gets another number in its prefix.

use std::{borrow::Cow, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, Serializer};
use url::Url;
use zeroize::Zeroizing;

use crate::{id::Digest, invalid::Invalid, limits, secret::Secret, shell::value};

const JOIN: &str = "fmj1_";
const BEARER: &str = "fmb1_";
const CHECKSUM_BYTES: usize = 4;

/// A text is no token.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin as a token does.
    #[error("this is no token; one begins with {0}")]
    NotOne(&'static str),
    /// It is the other kind of token.
    #[error(
        "this token is sent with each call (--bearer-token-file); a host joins with one that begins with {JOIN}"
    )]
    NotToJoin,
    /// It is the other kind of token.
    #[error(
        "this token is for a host to join with; one that is sent with each call begins with {BEARER}"
    )]
    NotToRead,
    /// It has a form that is not known here.
    #[error("this token is of a newer version; upgrade this program")]
    Newer,
    /// Something of it is missing or another.
    #[error("this token is mistyped or cut off; copy it whole")]
    Mistyped,
    /// Its checksum is right, and what it says is not.
    #[error("this token leads nowhere: {0}")]
    Endpoint(String),
}

/// Lets a host join. It shows only where it leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JoinToken {
    /// The collector, an `https` URL.
    pub endpoint: Url,
    /// SHA-256 of the authority's public key (its `SubjectPublicKeyInfo`, DER).
    pub pin: Digest,
    /// What the collector knows the digest of.
    pub secret: Secret,
}

impl JoinToken {
    /// The token as it is typed. Whoever has it may join.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        let mut payload = Zeroizing::new(Vec::with_capacity(2 * Secret::BYTES + 256));
        payload.extend_from_slice(self.secret.expose());
        payload.extend_from_slice(self.pin.as_bytes());
        payload.extend_from_slice(value::collector_text(&self.endpoint).as_bytes());
        write(JOIN, &payload)
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.trim().starts_with(BEARER) {
            return Err(TokenError::NotToJoin);
        }
        let payload = read(JOIN, text)?;
        let (secret, rest) = payload.split_at_checked(Secret::BYTES).ok_or(TokenError::Mistyped)?;
        let (pin, endpoint) = rest.split_at_checked(32).ok_or(TokenError::Mistyped)?;
        let secret = Secret::from_slice(secret).ok_or(TokenError::Mistyped)?;
        let pin = Digest::from_bytes(pin).map_err(|_| TokenError::Mistyped)?;
        let endpoint = std::str::from_utf8(endpoint).map_err(|_| TokenError::Mistyped)?;
        let endpoint = value::collector_url(endpoint).map_err(TokenError::Endpoint)?;
        if endpoint.scheme() != "https" {
            return Err(TokenError::Endpoint("it must be an https URL".to_owned()));
        }
        Ok(Self { endpoint, pin, secret })
    }
}

/// Sent with each call by who reads, commands, or reports through a proxy that ends TLS. It shows nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BearerToken {
    /// What the collector knows the digest of.
    pub secret: Secret,
}

impl BearerToken {
    /// The token as it is typed and sent. Whoever has it is taken for its owner.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        write(BEARER, self.secret.expose())
    }
}

impl FromStr for BearerToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.trim().starts_with(JOIN) {
            return Err(TokenError::NotToRead);
        }
        let secret = Secret::from_slice(&read(BEARER, text)?).ok_or(TokenError::Mistyped)?;
        Ok(Self { secret })
    }
}

/// What a token is known by where it is listed: the first 12 hexadecimal digits of the SHA-256 of its secret.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TokenId(String);

impl TokenId {
    /// The id of the token with this secret.
    #[must_use]
    pub fn of(secret: &Secret) -> Self {
        Self(secret.digest().to_string().chars().take(12).collect())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for TokenId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let hexadecimal = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        if text.len() != 12 || !text.chars().all(hexadecimal) {
            return Err(Invalid::new("token_id", "must be 12 hexadecimal digits"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The text with all that begins like a token cut down to that beginning, as `fmj1_…`: tokens are typed and written where they do
/// not belong, and what repeats that to a person or to a log must not hand them on.
#[must_use]
pub fn masked(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, beginning, behind)) = first_beginning(rest) {
        shown.push_str(before);
        shown.push_str(beginning);
        shown.push('…');
        rest = behind;
    }
    match shown.is_empty() {
        true => Cow::Borrowed(text),
        false => Cow::Owned(shown + rest),
    }
}

/// Whether this is a token by its first letters, whatever follows them.
#[must_use]
pub fn is_like_one(text: &str) -> bool {
    first_beginning(text.trim()).is_some_and(|(before, ..)| before.is_empty())
}

/// The first place where something begins like a token and goes on: what is before it, its beginning, and what is behind it.
fn first_beginning(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices("fm").find_map(|(at, _)| {
        let (before, from) = text.split_at(at);
        let number = from.strip_prefix(&JOIN[..3]).or_else(|| from.strip_prefix(&BEARER[..3]))?;
        let secret = number.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix('_')?;
        let behind = secret.trim_start_matches(is_of_a_token);
        let beginning = &from[..from.len() - secret.len()];
        (behind.len() < secret.len()).then_some((before, beginning, behind))
    })
}

/// Whether a token can have this character; `=` and `%` come of other ways to write one.
fn is_of_a_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '/' | '=' | '%')
}

fn checksum(prefix: &str, payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut all = Zeroizing::new(prefix.as_bytes().to_vec());
    all.extend_from_slice(payload);
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&Digest::of(&all).as_bytes()[..CHECKSUM_BYTES]);
    sum
}

fn write(prefix: &str, payload: &[u8]) -> Zeroizing<String> {
    let mut all = Zeroizing::new(payload.to_vec());
    all.extend_from_slice(&checksum(prefix, payload));
    let mut text = Zeroizing::new(prefix.to_owned());
    URL_SAFE_NO_PAD.encode_string(&*all, &mut text);
    text
}

fn read(prefix: &'static str, text: &str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let text = text.trim();
    if text.len() > limits::TOKEN_CHARS {
        return Err(TokenError::Mistyped);
    }
    let Some(encoded) = text.strip_prefix(prefix) else {
        // The same but for the number.
        let is_newer = text
            .strip_prefix(&prefix[..3])
            .and_then(|rest| rest.split_once('_'))
            .is_some_and(|(number, _)| number.parse::<u16>().is_ok_and(|number| number > 1));
        return Err(if is_newer { TokenError::Newer } else { TokenError::NotOne(prefix) });
    };
    let mut payload =
        Zeroizing::new(URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Mistyped)?);
    let begin = payload.len().checked_sub(CHECKSUM_BYTES).ok_or(TokenError::Mistyped)?;
    let sum = payload.split_off(begin);
    if sum != checksum(prefix, &payload) {
        return Err(TokenError::Mistyped);
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            endpoint: "https://collector.example:7600".parse().unwrap(),
            pin: Digest::of(b"key"),
            secret: Secret::from_slice(&[7; 32]).unwrap(),
        }
    }

    #[test]
    fn a_token_says_what_it_was_made_of() {
        let typed = token().expose();
        assert_eq!(typed.parse::<JoinToken>().unwrap(), token());
        assert_eq!(format!(" {}\n", *typed).parse::<JoinToken>().unwrap(), token());
        let bearer = BearerToken { secret: Secret::from_slice(&[9; 32]).unwrap() };
        assert_eq!(bearer.expose().parse::<BearerToken>().unwrap(), bearer);
    }

    #[test]
    fn a_token_leads_to_the_port_that_it_was_made_with() {
        for port in [443, 7600] {
            let endpoint = value::collector_url(&format!("https://collector:{port}")).unwrap();
            let token = JoinToken { endpoint, ..token() };
            let read: JoinToken = token.expose().parse().unwrap();
            assert_eq!(read.endpoint.port_or_known_default(), Some(port));
        }
    }

    #[test]
    fn a_character_more_less_or_another_is_found() {
        let typed = token().expose();
        for place in 0..typed.len() {
            let mut other = typed.clone();
            let found = other.remove(place);
            assert!(other.parse::<JoinToken>().is_err(), "without {place}");
            let another = if found == 'A' { 'B' } else { 'A' };
            other.insert(place, another);
            assert!(other.parse::<JoinToken>().is_err(), "{place} is another");
        }
        assert_eq!(format!("{}A", *typed).parse::<JoinToken>(), Err(TokenError::Mistyped));
    }

    #[test]
    fn each_mistake_has_its_words() {
        let bearer = BearerToken { secret: Secret::from_slice(&[9; 32]).unwrap() }.expose();
        assert_eq!(bearer.parse::<JoinToken>(), Err(TokenError::NotToJoin));
        assert_eq!(token().expose().parse::<BearerToken>(), Err(TokenError::NotToRead));
        assert_eq!("fmj2_abc".parse::<JoinToken>(), Err(TokenError::Newer));
        for wrong in ["", "hunter2", "fmj", "fmj_", "fmj0_x"] {
            assert_eq!(wrong.parse::<JoinToken>(), Err(TokenError::NotOne(JOIN)), "{wrong}");
        }
        let plain = JoinToken { endpoint: "http://collector:7600".parse().unwrap(), ..token() };
        assert!(matches!(plain.expose().parse::<JoinToken>(), Err(TokenError::Endpoint(_))));
    }

    #[test]
    fn a_token_is_not_shown() {
        let shown = format!("{:?}", token());
        assert!(shown.contains("collector.example"), "{shown}");
        assert!(!shown.contains(&"7, ".repeat(3)), "{shown}");
    }

    #[test]
    fn what_begins_like_a_token_is_cut_down_to_its_beginning() {
        let bearer = BearerToken { secret: Secret::from_slice(&[9; 32]).unwrap() };
        let (join, bearer) = (token().expose(), bearer.expose());
        let line = format!("cannot read '{}': --to={}, fmj27_abc/d", *join, *bearer);
        assert_eq!(masked(&line), "cannot read 'fmj1_…': --to=fmb1_…, fmj27_…");
        assert_eq!(masked(&format!("{}\n{}", *join, *join)), "fmj1_…\nfmj1_…");
        assert_eq!(masked("confmfmj_x, fm"), "confmfmj_…, fm");
        for harmless in ["", "one begins with fmj1_", "fmj1_…", "fmk1_abc", "fmj1-abc", "fmjs_x"]
        {
            assert!(matches!(masked(harmless), Cow::Borrowed(_)), "{harmless}");
        }
        assert!(is_like_one(&join) && is_like_one(" fmb2_x\n") && !is_like_one("./fmb2_x"));
    }

    #[test]
    fn a_token_is_known_by_its_digest() {
        let id = TokenId::of(&token().secret);
        assert_eq!(id.as_str().parse::<TokenId>().unwrap(), id);
        assert!("not an id".parse::<TokenId>().is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in ".*") {
            let _ = text.parse::<JoinToken>();
            let _ = text.parse::<BearerToken>();
        }

        #[test]
        fn no_text_hides_a_token(before in ".*", after in ".*") {
            let token = token().expose();
            let line = format!("{before}{}{after}", *token);
            prop_assert!(!masked(&line).contains(&token[5..]));
        }
    }
}
