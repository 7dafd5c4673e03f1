//! `enroll`.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use fleetmark_proto::{
    host::{Host, HostIdSource},
    id::HostId,
    limits,
    shell::{self, Exit, output::tell},
    token::{JoinToken, TokenError, TokenId},
};
use zeroize::Zeroizing;

use super::{Stopped, wait_for, warn_if_open};
use crate::{
    args::{AccessArgs, EnrollArgs},
    clock::{Clock, whole_seconds},
    credentials::{Credentials, CredentialsError, Folder},
    delivery::{Access, CLOCKS_APART, DeliveryError, Event, Joined, Joining},
    identity, memory,
};

/// What was typed cannot be done.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error(
        "this host has joined {endpoint} as {host}; --force joins again, and gives up what it has"
    )]
    Already { endpoint: String, host: HostId },
    #[error("a token is needed: name its file with --token-file, or - for standard input")]
    NoToken,
    #[error("cannot read the token from {from}")]
    Unreadable { from: String, source: io::Error },
    #[error(transparent)]
    Token(#[from] TokenError),
}

pub(super) fn enroll(arguments: &EnrollArgs, state_dir: &Path) -> Result<Exit, Stopped> {
    memory::keep_private();
    let usage = |error: Wrong| Stopped::usage(&error);
    let token = token(arguments).map_err(usage)?;
    let folder = Folder::of(state_dir);
    let before = match folder.read() {
        Err(CredentialsError::Damaged { .. } | CredentialsError::Open { .. })
            if arguments.force =>
        {
            None
        }
        before => before?,
    };
    if let Some(Credentials { endpoint, membership, .. }) = &before
        && !arguments.force
    {
        let (endpoint, host) = (endpoint.to_string(), membership.host.clone());
        return Err(usage(Wrong::Already { endpoint, host }));
    }
    let host = host(arguments, before.as_ref(), state_dir)?;
    let believed = believed(arguments)?;
    // What cannot be kept should not cost the token.
    folder.prepare()?;
    let outlet = |error: &DeliveryError| {
        tell(format_args!("cannot join yet: {}; trying again", shell::one_line(error)));
    };
    let clock = Clock::of_host();
    let within = arguments.max_time;
    let key = folder.key_to_join(&TokenId::of(&token.secret), &host.id)?;
    let joining =
        Joining { token: &token, host: &host, key: &key, believed, clock: &clock, within };
    let Joined { credentials, ahead } = wait_for(joining.join(outlet))??;
    folder.write(&credentials)?;
    if ahead.abs() > CLOCKS_APART {
        tell(format_args!("warning: {}", Event::ClockOff { ahead }));
    }
    tell(format_args!(
        "this host has joined {} as {}; its certificate counts until {}, and is renewed from now on\n\
         next: `fleetmark-agent run` measures once and delivers, `fleetmark-agent daemon` stays",
        credentials.endpoint,
        credentials.membership.host,
        whole_seconds(credentials.life().ends_at)
    ));
    Ok(Exit::Success)
}

/// Who joins: as before, unless it is told who it is.
fn host(
    arguments: &EnrollArgs,
    before: Option<&Credentials>,
    state_dir: &Path,
) -> Result<Host, Stopped> {
    let told = arguments.host_id.clone().map(|id| (id, HostIdSource::Flag));
    let joined = before.map(|before| &before.membership);
    let known = told.or_else(|| joined.map(|joined| (joined.host.clone(), joined.id_source)));
    Ok(identity::host(Path::new("/"), known, state_dir)?)
}

/// What the collector is believed by, if not by the token.
fn believed(arguments: &EnrollArgs) -> Result<Option<Access>, Stopped> {
    let Some(path) = &arguments.tls_ca else { return Ok(None) };
    let named = AccessArgs { tls_ca: Some(path.clone()), ..AccessArgs::default() };
    Access::read(&named).map(Some).map_err(|error| Stopped::usage(&error))
}

fn token(arguments: &EnrollArgs) -> Result<JoinToken, Wrong> {
    let text = match (&arguments.token, &arguments.token_file) {
        (Some(typed), _) => typed.expose(),
        (None, Some(path)) if path == Path::new("-") => {
            read(Ok(io::stdin()), "standard input".to_owned())?
        }
        (None, Some(path)) => {
            warn_if_open(path);
            read(File::open(path), path.display().to_string())?
        }
        (None, None) => return Err(Wrong::NoToken),
    };
    Ok(text.parse()?)
}

/// Reads as much as a token may have, and a little more.
fn read(source: io::Result<impl Read>, from: String) -> Result<Zeroizing<String>, Wrong> {
    const ROOM: usize = limits::TOKEN_CHARS + 64;
    let mut text = Zeroizing::new(String::with_capacity(ROOM));
    let most = u64::try_from(ROOM).unwrap_or(u64::MAX);
    match source.and_then(|source| source.take(most).read_to_string(&mut text)) {
        Ok(_) => Ok(text),
        Err(source) => Err(Wrong::Unreadable { from, source }),
    }
}
